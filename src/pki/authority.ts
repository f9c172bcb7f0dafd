import {
  createHash,
  createPrivateKey,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  type Name,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  TBSCertificate,
  Validity,
  Version,
} from "@peculiar/asn1-x509";
import { makeKey } from "./certificate-request.ts";
import { encodePem } from "./pem.ts";
import { DIGEST, keyInfoOf, nameOf, signatureAlgorithm } from "./structures.ts";

/** A certificate authority: its certificate and its private key, both in PEM. */
export interface Authority {
  readonly certificate: string;
  readonly privateKey: string;
}

/** Throws with what is wrong when this cannot be used as an authority at that time. */
export const checkAuthority = ({ certificate, privateKey }: Authority, now: Date): void => {
  const parsed = new X509Certificate(certificate);
  const key = createPrivateKey(privateKey);
  if (!parsed.ca) throw new Error("the certificate is not one of an authority (CA:TRUE)");
  if (key.asymmetricKeyType !== "ec") throw new Error("the private key is not one for ECDSA");
  if (!parsed.checkPrivateKey(key)) throw new Error("the private key is not that of the certificate");
  if (now.getTime() > Date.parse(parsed.validTo))
    throw new Error(`the certificate has ended on ${parsed.validTo}`);
};

/** What a certificate is to say. Everything else in it is the same in all of them. */
export interface CertificateContent {
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  readonly publicKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const AUTHORITY_NAME = "vireo-ca";
const AUTHORITY_YEARS = 10;
/** Clocks of nodes may differ by this much, in ms. */
export const CLOCK_SKEW_MS = 5 * 60_000;

/** A new authority, good for ten years. It signs certificates of programs, and no further authorities. */
export const makeAuthority = (now: Date): Authority => {
  const key = makeKey();
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(now.getUTCFullYear() + AUTHORITY_YEARS);
  const certificate = issue(
    {
      subject: nameOf(AUTHORITY_NAME),
      issuer: nameOf(AUTHORITY_NAME),
      publicKey: key.publicKey,
      notBefore: new Date(now.getTime() - CLOCK_SKEW_MS),
      notAfter,
      extensions: [
        critical(id_ce_basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 })),
        critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign)),
        subjectKeyIdentifier(key.publicKey),
      ],
    },
    key.privateKey,
  );
  return { certificate, privateKey: key.privateKeyPem };
};

/** Signs a certificate of a program, for both ends of TLS, in PEM. It ends with the authority's own at the latest. */
export const signCertificate = (authority: Authority, content: CertificateContent): string => {
  const issuer = new X509Certificate(authority.certificate);
  const issuerName = AsnConvert.parse(issuer.raw, Certificate).tbsCertificate.subject;
  const notAfter = new Date(Math.min(content.notAfter.getTime(), Date.parse(issuer.validTo)));
  const names = content.dnsNames.map((dNSName) => new GeneralName({ dNSName }));
  return issue(
    {
      subject: nameOf(content.commonName),
      issuer: issuerName,
      publicKey: content.publicKey,
      notBefore: content.notBefore,
      notAfter,
      extensions: [
        critical(id_ce_basicConstraints, new BasicConstraints({ cA: false })),
        critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature)),
        plain(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_clientAuth, id_kp_serverAuth])),
        plain(id_ce_subjectAltName, new SubjectAlternativeName(names)),
        subjectKeyIdentifier(content.publicKey),
        plain(
          id_ce_authorityKeyIdentifier,
          new AuthorityKeyIdentifier({ keyIdentifier: keyIdentifierOf(issuer.publicKey) }),
        ),
      ],
    },
    createPrivateKey(authority.privateKey),
  );
};

interface Content {
  readonly subject: Name;
  readonly issuer: Name;
  readonly publicKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: readonly Extension[];
}

const issue = (content: Content, privateKey: KeyObject): string => {
  const toBeSigned = new TBSCertificate({
    version: Version.v3,
    serialNumber: serialNumber(),
    signature: signatureAlgorithm(),
    issuer: content.issuer,
    validity: new Validity({ notBefore: content.notBefore, notAfter: content.notAfter }),
    subject: content.subject,
    subjectPublicKeyInfo: keyInfoOf(content.publicKey),
    extensions: new Extensions([...content.extensions]),
  });
  const signature = sign(DIGEST, Buffer.from(AsnConvert.serialize(toBeSigned)), privateKey);
  const certificate = new Certificate({
    tbsCertificate: toBeSigned,
    signatureAlgorithm: signatureAlgorithm(),
    signatureValue: new Uint8Array(signature).buffer,
  });
  return encodePem("CERTIFICATE", AsnConvert.serialize(certificate));
};

/** 126 random bits, positive and without a leading zero byte. */
const serialNumber = (): ArrayBuffer => {
  const bytes = new Uint8Array(randomBytes(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.buffer;
};

const extension =
  (isCritical: boolean) =>
  (id: string, value: object): Extension =>
    new Extension({
      extnID: id,
      critical: isCritical,
      extnValue: new OctetString(AsnConvert.serialize(value)),
    });

const critical = extension(true);
const plain = extension(false);

/** Which of several authorities of one name has signed: RFC 7093, method 1. */
const keyIdentifierOf = (publicKey: KeyObject): KeyIdentifier => {
  const digest = createHash("sha256")
    .update(new Uint8Array(keyInfoOf(publicKey).subjectPublicKey))
    .digest();
  return new KeyIdentifier(new Uint8Array(digest.subarray(0, 20)));
};

const subjectKeyIdentifier = (publicKey: KeyObject): Extension =>
  plain(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifierOf(publicKey)));
