/** The door of src/pki: who the programs of Vireo are to each other, and how they prove it (docs/design/pki.md). */
export {
  checkAuthority,
  makeAuthority,
  signCertificate,
  CLOCK_SKEW_MS,
  type Authority,
} from "./authority.ts";
export {
  CertificateRequestError,
  makeCertificateRequest,
  makeKey,
  readCertificateRequest,
  type CertificateRequest,
  type NewKey,
} from "./certificate-request.ts";
export { createPeerCredentials, type PeerCredentials, type PeerCredentialsOptions } from "./credentials.ts";
export {
  API_SERVICE,
  commonNameOf,
  describePeer,
  dnsNamesOf,
  identityOf,
  isSamePeer,
  NODE_NAME_CLAIM,
  peerKindOfSigner,
  peerKinds,
  signerNameOf,
  userNameOf,
  type PeerIdentity,
  type PeerKind,
} from "./identity.ts";
export { joinStreams } from "./join-streams.ts";
export {
  AUTHORITY_SECRET,
  CERTIFICATE_USAGES,
  decodeBase64,
  encodeBase64,
  TRUST_CONFIG_MAP,
  TRUST_KEY,
} from "./objects.ts";
export {
  BYTES_PROTOCOL,
  createPeerClient,
  PeerRefusal,
  PeerUnreachable,
  REQUESTER_HEADER,
  type PeerAddress,
  type PeerClient,
  type PeerProblem,
  type PeerRequestOptions,
} from "./peer-client.ts";
export { peerConnectOptions, peerOf, peerServerOptions, type TlsMaterial } from "./peer-tls.ts";
export { CERTIFICATE_LIFETIME_MS, isOfCurrentAuthority, trustBundle } from "./trust.ts";
