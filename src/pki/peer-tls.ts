import { constants } from "node:crypto";
import type { ConnectionOptions, PeerCertificate, TLSSocket, TlsOptions } from "node:tls";
import { commonNameOf, describePeer, identityOf, type PeerIdentity } from "./identity.ts";

/** What a program needs to speak mutual TLS, all in PEM. */
export interface TlsMaterial {
  /** Its own certificate. */
  readonly certificate: string;
  readonly privateKey: string;
  /** The authorities whose certificates it takes; the one that signs now first. */
  readonly authorities: string;
}

const materialOptions = ({ certificate, privateKey, authorities }: TlsMaterial) => ({
  cert: certificate,
  key: privateKey,
  ca: authorities,
  minVersion: "TLSv1.3" as const,
});

/**
 * Options of a TLS server that takes nobody without a certificate of ours; also
 * for `server.setSecureContext` when the material changes. No session is
 * resumed: a certificate that has ended would live on in it.
 */
export const peerServerOptions = (material: TlsMaterial): TlsOptions => ({
  ...materialOptions(material),
  requestCert: true,
  rejectUnauthorized: true,
  secureOptions: constants.SSL_OP_NO_TICKET,
});

/** Options of a connection to one peer, whatever its address: its certificate must be that very peer's. */
export const peerConnectOptions = (material: TlsMaterial, expected: PeerIdentity): ConnectionOptions => ({
  ...materialOptions(material),
  // Names of hosts play no part: none is sent, none is checked.
  servername: "",
  rejectUnauthorized: true,
  checkServerIdentity: (_host, certificate) => checkPeer(certificate, expected),
});

const checkPeer = (certificate: PeerCertificate, expected: PeerIdentity): Error | undefined => {
  const found = commonNameIn(certificate);
  if (found === commonNameOf(expected)) return undefined;
  return new Error(
    `expected ${describePeer(expected)}, but the certificate is that of ${JSON.stringify(found ?? "nobody")}`,
  );
};

/** A connection that has broken has no certificate any more, whatever the types say. */
const commonNameIn = (certificate: PeerCertificate | null | undefined): string | undefined => {
  const name: unknown = certificate?.subject?.CN;
  return typeof name === "string" ? name : undefined;
};

/** Who is at the other end of a server's connection; undefined unless a valid certificate says so. */
export const peerOf = (socket: TLSSocket): PeerIdentity | undefined =>
  socket.authorized ? identityOf(commonNameIn(socket.getPeerCertificate()) ?? "") : undefined;
