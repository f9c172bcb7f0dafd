import { createPublicKey, type KeyObject } from "node:crypto";
import { AsnConvert } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  Name,
  RelativeDistinguishedName,
  SubjectPublicKeyInfo,
} from "@peculiar/asn1-x509";

/** What requests and certificates are made of (RFC 5280). Keys are P-256, signatures ECDSA with SHA-256 (RFC 5758). */

export const CURVE = "P-256";
export const DIGEST = "sha256";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const COMMON_NAME = "2.5.4.3";

export const signatureAlgorithm = (): AlgorithmIdentifier =>
  new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 });

export const isOurSignature = ({ algorithm }: AlgorithmIdentifier): boolean =>
  algorithm === ECDSA_WITH_SHA256;

export const nameOf = (commonName: string): Name =>
  new Name([
    new RelativeDistinguishedName([
      new AttributeTypeAndValue({
        type: COMMON_NAME,
        value: new AttributeValue({ utf8String: commonName }),
      }),
    ]),
  ]);

/** The common name of a name that consists of nothing else; undefined for any other. */
export const commonNameIn = (name: Name): string | undefined => {
  const [first, ...others] = name.flatMap((part) => [...part]);
  if (first === undefined || others.length > 0 || first.type !== COMMON_NAME) return undefined;
  return first.value.utf8String ?? first.value.printableString;
};

export const keyInfoOf = (publicKey: KeyObject): SubjectPublicKeyInfo =>
  AsnConvert.parse(publicKey.export({ type: "spki", format: "der" }), SubjectPublicKeyInfo);

export const publicKeyIn = (info: SubjectPublicKeyInfo): KeyObject =>
  createPublicKey({ key: Buffer.from(AsnConvert.serialize(info)), type: "spki", format: "der" });

export const isOurKey = (key: KeyObject): boolean =>
  key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === "prime256v1";
