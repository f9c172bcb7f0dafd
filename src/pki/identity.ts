import { objectName } from "../api/fields.ts";
import { SYSTEM_NAMESPACE } from "../api/hypervisor.ts";

/** The programs that speak mutual TLS with each other. */
export const peerKinds = ["node-agent", "api-server"] as const;
export type PeerKind = (typeof peerKinds)[number];

/** Who is at the other end of a connection, as its certificate says. */
export type PeerIdentity =
  | { readonly kind: "node-agent"; readonly nodeName: string }
  | { readonly kind: "api-server" };

const AGENT_PREFIX = "vireo:node-agent:";
const API_SERVER = "vireo:api-server";

/** The common name of an identity's certificate. It is the whole identity: names and addresses of hosts say nothing. */
export const commonNameOf = (identity: PeerIdentity): string =>
  identity.kind === "node-agent" ? `${AGENT_PREFIX}${identity.nodeName}` : API_SERVER;

/** Whose common name this is; undefined when it is nobody's. */
export const identityOf = (commonName: string): PeerIdentity | undefined => {
  if (commonName === API_SERVER) return { kind: "api-server" };
  if (!commonName.startsWith(AGENT_PREFIX)) return undefined;
  const nodeName = commonName.slice(AGENT_PREFIX.length);
  return objectName.safeParse(nodeName).success ? { kind: "node-agent", nodeName } : undefined;
};

/** For logs and messages: "node-agent node-1". */
export const describePeer = (identity: PeerIdentity): string =>
  identity.kind === "node-agent" ? `${identity.kind} ${identity.nodeName}` : identity.kind;

export const isSamePeer = (one: PeerIdentity, other: PeerIdentity): boolean =>
  commonNameOf(one) === commonNameOf(other);

/** The signer of CertificateSigningRequests of that kind. */
export const signerNameOf = (kind: PeerKind): string => `vireo.dev/${kind}`;

/** Whose signer this is; undefined when it is not one of ours. */
export const peerKindOfSigner = (signerName: string): PeerKind | undefined =>
  peerKinds.find((kind) => signerNameOf(kind) === signerName);

/** The user name that the API server knows those programs by. All agents share theirs; the token names the node. */
export const userNameOf = (kind: PeerKind): string =>
  `system:serviceaccount:${SYSTEM_NAMESPACE}:vireo-${kind}`;

/** Field of a user's extra in which the API server says which node a token was issued for. */
export const NODE_NAME_CLAIM = "authentication.kubernetes.io/node-name";

/** The Service that the API aggregator reaches the api-server by. */
export const API_SERVICE = { namespace: SYSTEM_NAMESPACE, name: "vireo-api-server" } as const;

/**
 * Names of hosts in the certificate, for clients other than Vireo's own: the
 * aggregator looks for the Service's. Addresses are left out: nobody could check
 * what a node says about them, and nothing relies on them.
 */
export const dnsNamesOf = (identity: PeerIdentity): readonly string[] =>
  identity.kind === "node-agent" ? [identity.nodeName] : [`${API_SERVICE.name}.${API_SERVICE.namespace}.svc`];
