import { createSign, generateKeyPairSync } from "node:crypto";

import { describe, expect, test } from "@jest/globals";
import { Attributes, CertificationRequest } from "@peculiar/asn1-csr";
import { AsnConvert } from "@peculiar/asn1-schema";
import { Attribute } from "@peculiar/asn1-x509";
import fc from "fast-check";

import {
  CertificateRequestError,
  makeCertificateRequest,
  makeKey,
  readCertificateRequest,
} from "../../../src/pki/index.ts";
import { decodePem, encodePem } from "../../../src/pki/pem.ts";
import { keyInfoOf, nameOf } from "../../../src/pki/structures.ts";

const LABEL = "CERTIFICATE REQUEST";
const key = makeKey();
const good = makeCertificateRequest("vireo:node-agent:node-1", key);

/** The good request, changed and signed again with that key. */
const changed = (
  change: (request: CertificationRequest) => void,
  signer: Parameters<ReturnType<typeof createSign>["sign"]>[0] = key.privateKey,
): string => {
  const [der = Buffer.alloc(0)] = decodePem(LABEL, good);
  const request = AsnConvert.parse(der, CertificationRequest);
  change(request);
  delete request.certificationRequestInfoRaw;
  const info = Buffer.from(AsnConvert.serialize(request.certificationRequestInfo));
  request.signature = new Uint8Array(createSign("sha256").update(info).sign(signer)).buffer;
  return encodePem(LABEL, AsnConvert.serialize(request));
};

test("a request says again what it was made of", () => {
  const { commonName, publicKey } = readCertificateRequest(good);
  expect([commonName, publicKey.equals(key.publicKey)]).toEqual(["vireo:node-agent:node-1", true]);
});

describe("a request is refused", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });

  test.each([
    ["that is empty", "", "one PEM block"],
    ["that is two", good + good, "one PEM block"],
    ["that is no DER", encodePem(LABEL, Buffer.from("x")), "cannot be read"],
    [
      "with two names",
      changed(({ certificationRequestInfo: info }) => {
        info.subject.push(...nameOf("second"));
      }),
      "and nothing else",
    ],
    [
      "without a name",
      changed(({ certificationRequestInfo: info }) => {
        info.subject.length = 0;
      }),
      "and nothing else",
    ],
    [
      "that wants extensions, such as to be an authority",
      changed(({ certificationRequestInfo: info }) => {
        const wish = new Attribute({
          type: "1.2.840.113549.1.9.14",
          values: [new Uint8Array([0x30, 0]).buffer],
        });
        info.attributes = new Attributes([wish]);
      }),
      "cannot be requested",
    ],
    [
      "for somebody else's key",
      changed(({ certificationRequestInfo: info }) => {
        info.subjectPKInfo = keyInfoOf(makeKey().publicKey);
      }),
      "the signature is not one of the key",
    ],
    [
      "for an RSA key",
      changed(({ certificationRequestInfo: info }) => {
        info.subjectPKInfo = keyInfoOf(rsa.publicKey);
      }, rsa.privateKey),
      "ECDSA with P-256",
    ],
    [
      "for another curve",
      changed(({ certificationRequestInfo: info }) => {
        info.subjectPKInfo = keyInfoOf(p384.publicKey);
      }, p384.privateKey),
      "ECDSA with P-256",
    ],
  ])("%s", (_what, pem, why) => {
    expect(() => readCertificateRequest(pem)).toThrow(CertificateRequestError);
    expect(() => readCertificateRequest(pem)).toThrow(why);
  });
});

/** Not all bytes are signed, and some say nothing. */
test("a request of which a byte was changed is refused, or says what it said", () => {
  const [der = Buffer.alloc(0)] = decodePem(LABEL, good);
  const read = (pem: string): string => {
    try {
      const { commonName, publicKey } = readCertificateRequest(pem);
      return publicKey.equals(key.publicKey) ? commonName : "another key";
    } catch (error) {
      return error instanceof CertificateRequestError ? "refused" : String(error);
    }
  };
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (index, difference) => {
      const bytes = Buffer.from(der);
      bytes[index] = (bytes[index] ?? 0) ^ difference;
      expect(["refused", "vireo:node-agent:node-1"]).toContain(read(encodePem(LABEL, bytes)));
    }),
    { numRuns: 500 },
  );
});
