import { createHash } from "node:crypto";
import { WireReader } from "./wire-format.ts";

/** The outcome of looking at a line of authorized_keys. */
export type PublicKeyVerdict =
  | { readonly kind: "valid"; readonly fingerprint: string }
  /** `problem` goes on after "the public key …". */
  | { readonly kind: "invalid"; readonly problem: string };

/** sshd takes no shorter RSA key (RequiredRSASize, sshd_config(5)). */
const MIN_RSA_BITS = 1024;
const ED25519_BYTES = 32;

/** Reads what follows the type in a key; says what is wrong with it, or undefined. */
type KeyBody = (reader: WireReader) => string | undefined;

const ed25519: KeyBody = (reader) =>
  reader.string().length === ED25519_BYTES ? undefined : `is not ${ED25519_BYTES} bytes long`;

const rsa: KeyBody = (reader) => {
  const exponent = reader.string();
  const modulus = stripSign(reader.string());
  if (exponent.length === 0) return "has no exponent";
  const bits = modulus.length === 0 ? 0 : modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  return bits < MIN_RSA_BITS ? `has ${bits} bits; sshd takes no RSA key under ${MIN_RSA_BITS}` : undefined;
};

/** A positive number whose highest bit is set has a zero byte before it. */
const stripSign = (integer: Buffer): Buffer => (integer[0] === 0 ? integer.subarray(1) : integer);

/** An uncompressed point: 4, then both coordinates. */
const ecdsa =
  (curve: string, coordinateBytes: number): KeyBody =>
  (reader) => {
    const named = reader.string().toString("latin1");
    if (named !== curve) return `names the curve ${JSON.stringify(named)} instead of ${curve}`;
    const point = reader.string();
    const isPoint = point.length === 1 + 2 * coordinateBytes && point[0] === 4;
    return isPoint ? undefined : `holds no point of ${curve}`;
  };

/** Keys of security tokens end with the application that they are for. */
const forToken =
  (body: KeyBody): KeyBody =>
  (reader) => {
    const problem = body(reader);
    if (problem !== undefined) return problem;
    return reader.string().length > 0 ? undefined : "names no application";
  };

const keyBodies: ReadonlyMap<string, KeyBody> = new Map([
  ["ssh-ed25519", ed25519],
  ["ssh-rsa", rsa],
  ["ecdsa-sha2-nistp256", ecdsa("nistp256", 32)],
  ["ecdsa-sha2-nistp384", ecdsa("nistp384", 48)],
  ["ecdsa-sha2-nistp521", ecdsa("nistp521", 66)],
  ["sk-ssh-ed25519@openssh.com", forToken(ed25519)],
  ["sk-ecdsa-sha2-nistp256@openssh.com", forToken(ecdsa("nistp256", 32))],
]);

/**
 * Checks a public key in OpenSSH's format down to its structure, since sshd in
 * the guest drops a broken line without a word to anybody.
 *
 * The formats: RFC 4253 section 6.6, RFC 5656, RFC 8709, PROTOCOL.u2f of OpenSSH.
 */
export const judgePublicKey = (line: string): PublicKeyVerdict => {
  const [type = "", base64 = ""] = line.split(" ");
  const body = keyBodies.get(type);
  if (body === undefined) return invalid(`is of an unknown type ${JSON.stringify(type)}`);
  const blob = Buffer.from(base64, "base64");
  if (blob.toString("base64").replaceAll("=", "") !== base64.replaceAll("=", ""))
    return invalid("is not whole base64: was it cut off?");
  const problem = problemOf(type, body, blob);
  return problem === undefined ? { kind: "valid", fingerprint: fingerprintOf(blob) } : invalid(problem);
};

const invalid = (problem: string): PublicKeyVerdict => ({ kind: "invalid", problem });

const problemOf = (type: string, body: KeyBody, blob: Buffer): string | undefined => {
  const reader = new WireReader(blob);
  try {
    const inner = reader.string().toString("latin1");
    if (inner !== type) return `says ${type} and holds a key of type ${JSON.stringify(inner.slice(0, 64))}`;
    return body(reader) ?? (reader.atEnd ? undefined : "is longer than a key of its type");
  } catch (error) {
    if (error instanceof RangeError) return "ends too early: was it cut off?";
    throw error;
  }
};

/** As `ssh-keygen -l` prints it. */
const fingerprintOf = (blob: Buffer): string =>
  `SHA256:${createHash("sha256").update(blob).digest("base64").replaceAll("=", "")}`;
