import { X509Certificate } from "node:crypto";
import { splitCertificates } from "./pem.ts";

/** Certificates of programs are good for this long, in ms; they are renewed at half of it. */
export const CERTIFICATE_LIFETIME_MS = 24 * 60 * 60_000;

/** An authority that was replaced is trusted until the last certificate that it signed has ended, and a little longer. */
const RETIREMENT_MS = CERTIFICATE_LIFETIME_MS + 60 * 60_000;

/**
 * The authorities that programs trust, as PEM, the one that signs first.
 *
 * When the authority is replaced, the programs' certificates are still of the
 * old one, so it stays in the bundle until none of them can be left. Who
 * replaces an authority because its key was stolen removes the bundle too.
 */
export const trustBundle = (
  current: string,
  options: { readonly stored: string | undefined; readonly now: Date },
): string => {
  const now = options.now.getTime();
  const own = new X509Certificate(current);
  const isRetired = now > Date.parse(own.validFrom) + RETIREMENT_MS;
  const older = splitCertificates(options.stored ?? "").filter((pem) => {
    const certificate = parse(pem);
    if (certificate === undefined || certificate.fingerprint256 === own.fingerprint256) return false;
    return now < Date.parse(certificate.validTo);
  });
  return [current, ...(isRetired ? [] : older)].join("");
};

/** Undefined for what is none: a bundle that somebody has spoilt is mended. */
const parse = (pem: string): X509Certificate | undefined => {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
};

/** Whether that certificate was signed by the first authority of the bundle, the one that signs now. */
export const isOfCurrentAuthority = (certificate: string, bundle: string): boolean => {
  const [first] = splitCertificates(bundle);
  if (first === undefined) return false;
  const authority = parse(first);
  if (authority === undefined) return false;
  const leaf = new X509Certificate(certificate);
  return leaf.checkIssued(authority) && leaf.verify(authority.publicKey);
};
