import { generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { AsnConvert } from "@peculiar/asn1-schema";
import { Attributes, CertificationRequest, CertificationRequestInfo } from "@peculiar/asn1-csr";
import { decodePem, encodePem } from "./pem.ts";
import {
  commonNameIn,
  CURVE,
  DIGEST,
  isOurKey,
  isOurSignature,
  keyInfoOf,
  nameOf,
  publicKeyIn,
  signatureAlgorithm,
} from "./structures.ts";

/** A request that does not say what a request has to say; the message tells what. */
export class CertificateRequestError extends Error {
  override readonly name = "CertificateRequestError";
}

/** What a request asks for, once its signature has shown that who asks has the private key. */
export interface CertificateRequest {
  readonly commonName: string;
  readonly publicKey: KeyObject;
}

const LABEL = "CERTIFICATE REQUEST";

export interface NewKey {
  readonly privateKey: KeyObject;
  /** PKCS #8 PEM of it, as TLS takes it. */
  readonly privateKeyPem: string;
  readonly publicKey: KeyObject;
}

export const makeKey = (): NewKey => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: CURVE });
  return {
    privateKey,
    publicKey,
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
};

/** A request (RFC 2986) in PEM: a common name and a public key, and nothing else. */
export const makeCertificateRequest = (commonName: string, key: NewKey): string => {
  const info = new CertificationRequestInfo({
    subject: nameOf(commonName),
    subjectPKInfo: keyInfoOf(key.publicKey),
    attributes: new Attributes(),
  });
  const signature = sign(DIGEST, Buffer.from(AsnConvert.serialize(info)), key.privateKey);
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm: signatureAlgorithm(),
    signature: new Uint8Array(signature).buffer,
  });
  return encodePem(LABEL, AsnConvert.serialize(request));
};

/**
 * Reads a request from PEM. Throws CertificateRequestError on anything but what
 * makeCertificateRequest makes: what else a certificate says is the signer's decision.
 */
export const readCertificateRequest = (pem: string): CertificateRequest => {
  const [der, ...others] = decodePem(LABEL, pem);
  if (der === undefined || others.length > 0)
    throw new CertificateRequestError(`spec.request must hold one PEM block "${LABEL}"`);
  const { request, publicKey } = parse(der);
  const info = request.certificationRequestInfo;
  const commonName = commonNameIn(info.subject);
  if (commonName === undefined)
    throw new CertificateRequestError("the subject must be a common name (CN) and nothing else");
  if ((info.attributes ?? []).length > 0)
    throw new CertificateRequestError("extensions and other attributes cannot be requested");
  if (!isOurKey(publicKey) || !isOurSignature(request.signatureAlgorithm))
    throw new CertificateRequestError(`the key must be one for ECDSA with ${CURVE} and SHA-256`);
  const signed = Buffer.from(request.certificationRequestInfoRaw ?? AsnConvert.serialize(info));
  if (!verify(DIGEST, signed, publicKey, Buffer.from(request.signature)))
    throw new CertificateRequestError("the signature is not one of the key that it asks a certificate for");
  return { commonName, publicKey };
};

const parse = (der: Buffer): { readonly request: CertificationRequest; readonly publicKey: KeyObject } => {
  try {
    const request = AsnConvert.parse(der, CertificationRequest);
    return { request, publicKey: publicKeyIn(request.certificationRequestInfo.subjectPKInfo) };
  } catch (cause) {
    throw new CertificateRequestError("spec.request cannot be read as a certificate request", { cause });
  }
};
