import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";

import { describe, expect, test } from "@jest/globals";

import {
  checkAuthority,
  isOfCurrentAuthority,
  makeAuthority,
  makeKey,
  signCertificate,
  trustBundle,
} from "../../../src/pki/index.ts";
import { splitCertificates } from "../../../src/pki/pem.ts";

const NOW = new Date("2026-11-23T10:00:00Z");
const HOUR = 60 * 60_000;
const later = (ms: number): Date => new Date(NOW.getTime() + ms);

const authority = makeAuthority(NOW);
const certificateOf = (from = authority, notAfter = later(24 * HOUR)): X509Certificate =>
  new X509Certificate(
    signCertificate(from, {
      commonName: "vireo:node-agent:node-1",
      dnsNames: ["node-1"],
      publicKey: makeKey().publicKey,
      notBefore: NOW,
      notAfter,
    }),
  );

describe("a certificate", () => {
  test("is what was asked for, and no authority", () => {
    const certificate = certificateOf();
    expect({
      subject: certificate.subject,
      issuer: certificate.issuer,
      names: certificate.subjectAltName,
      ca: certificate.ca,
      usages: certificate.keyUsage,
      notBefore: new Date(certificate.validFrom),
      notAfter: new Date(certificate.validTo),
    }).toEqual({
      subject: "CN=vireo:node-agent:node-1",
      issuer: "CN=vireo-ca",
      names: "DNS:node-1",
      ca: false,
      // Client and server of TLS.
      usages: ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"],
      notBefore: NOW,
      notAfter: later(24 * HOUR),
    });
  });

  test("is of its authority, and of no other of the same name", () => {
    const other = makeAuthority(NOW);
    const isOf = ({ certificate }: typeof authority): boolean =>
      certificateOf().verify(new X509Certificate(certificate).publicKey);
    expect([isOf(authority), isOf(other)]).toEqual([true, false]);
  });

  test("has a number of its own", () => {
    const numbers = Array.from({ length: 20 }, () => certificateOf().serialNumber);
    expect(new Set(numbers).size).toBe(20);
  });

  test("does not outlive its authority", () => {
    const { validTo } = new X509Certificate(authority.certificate);
    expect(certificateOf(authority, later(20 * 365 * 24 * HOUR)).validTo).toBe(validTo);
  });

  test("can name the longest node that there is", () => {
    const commonName = `vireo:node-agent:${"n".repeat(253)}`;
    const { publicKey } = makeKey();
    const pem = signCertificate(authority, {
      commonName,
      dnsNames: [],
      publicKey,
      notBefore: NOW,
      notAfter: NOW,
    });
    expect(new X509Certificate(pem).subject).toBe(`CN=${commonName}`);
  });
});

describe("as an authority is refused", () => {
  const leaf = certificateOf().toString();
  const rsa = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  test.each([
    ["a certificate of a program", { ...authority, certificate: leaf }, NOW, "not one of an authority"],
    [
      "somebody else's key",
      { ...authority, privateKey: makeKey().privateKeyPem },
      NOW,
      "not that of the certificate",
    ],
    ["an RSA key", { ...authority, privateKey: rsa.privateKey }, NOW, "not one for ECDSA"],
    ["one that has ended", authority, later(11 * 365 * 24 * HOUR), "has ended"],
  ])("%s", (_what, candidate, now, why) => {
    expect(() => checkAuthority(candidate, now)).toThrow(why);
  });

  test("not the one that was just made", () => {
    expect(() => checkAuthority(authority, NOW)).not.toThrow();
    expect(createPrivateKey(authority.privateKey).asymmetricKeyType).toBe("ec");
  });
});

describe("the bundle", () => {
  const older = makeAuthority(later(-100 * HOUR));
  const bundle = trustBundle(authority.certificate, { stored: older.certificate, now: NOW });

  test("begins as the one authority, and stays as it is", () => {
    const first = trustBundle(authority.certificate, { stored: undefined, now: NOW });
    expect(splitCertificates(first)).toHaveLength(1);
    expect(trustBundle(authority.certificate, { stored: first, now: later(HOUR) })).toBe(first);
  });

  test("keeps a replaced authority behind the new one, until its certificates have ended", () => {
    expect(splitCertificates(bundle)).toEqual([authority.certificate, older.certificate].map(normal));
    expect(trustBundle(authority.certificate, { stored: bundle, now: later(24 * HOUR) })).toBe(bundle);
    const after = trustBundle(authority.certificate, { stored: bundle, now: later(26 * HOUR) });
    expect(splitCertificates(after)).toEqual([normal(authority.certificate)]);
  });

  test("tells whose certificate is to be replaced", () => {
    const of = (from: typeof authority): boolean =>
      isOfCurrentAuthority(certificateOf(from).toString(), bundle);
    expect([of(authority), of(older)]).toEqual([true, false]);
  });
});

const normal = (pem: string): string => splitCertificates(pem)[0] ?? "";
