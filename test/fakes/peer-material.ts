import {
  type Authority,
  commonNameOf,
  dnsNamesOf,
  makeAuthority,
  makeKey,
  type PeerIdentity,
  signCertificate,
  type TlsMaterial,
} from "../../src/pki/index.ts";

const MINUTE = 60_000;

export const testAuthority = (): Authority => makeAuthority(new Date());

/** What a program of that identity would have, signed by that authority and trusting it. */
export const materialFor = (
  identity: PeerIdentity,
  authority: Authority,
  { notAfter = new Date(Date.now() + 10 * MINUTE) }: { readonly notAfter?: Date } = {},
): TlsMaterial => {
  const key = makeKey();
  const certificate = signCertificate(authority, {
    commonName: commonNameOf(identity),
    dnsNames: dnsNamesOf(identity),
    publicKey: key.publicKey,
    notBefore: new Date(Date.now() - MINUTE),
    notAfter,
  });
  return { certificate, privateKey: key.privateKeyPem, authorities: authority.certificate };
};

/** A certificate that is there from the beginning, and changed by the test. */
export const fixedCredentials = (first: TlsMaterial) => {
  let material = first;
  const listeners = new Set<(next: TlsMaterial) => void>();
  return {
    current: () => material,
    whenReady: () => Promise.resolve(material),
    onChange: (listener: (next: TlsMaterial) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    change: (next: TlsMaterial) => {
      material = next;
      for (const listener of listeners) listener(next);
    },
  };
};
