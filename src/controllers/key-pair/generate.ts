import { generateKeyPairSync, randomBytes } from "node:crypto";
import { sshString, uint32 } from "./wire-format.ts";

export interface GeneratedKeyPair {
  /** A line of authorized_keys. */
  readonly publicKey: string;
  /** An unencrypted private key file of OpenSSH. Goes into a Secret and nowhere else. */
  readonly privateKey: string;
}

const TYPE = "ssh-ed25519";
const LINE_LENGTH = 70;
/** Block size of the cipher "none". */
const BLOCK = 8;

/** Makes a new ed25519 key pair. The comment is printable ASCII without line breaks. */
export const generateKeyPair = (comment: string): GeneratedKeyPair => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const { x = "", d = "" } = privateKey.export({ format: "jwk" });
  const point = Buffer.from(x, "base64url");
  const seed = Buffer.from(d, "base64url");
  const blob = Buffer.concat([sshString(TYPE), sshString(point)]);
  return {
    publicKey: `${TYPE} ${blob.toString("base64")} ${comment}`,
    privateKey: privateKeyFile(blob, point, seed, comment),
  };
};

/**
 * OpenSSH's own container: ssh before 9.6 reads no ed25519 key in PKCS #8,
 * which is what node:crypto writes.
 * https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
 */
const privateKeyFile = (blob: Buffer, point: Buffer, seed: Buffer, comment: string): string => {
  const check = randomBytes(4);
  const secret = Buffer.concat([
    check,
    check,
    sshString(TYPE),
    sshString(point),
    sshString(Buffer.concat([seed, point])),
    sshString(comment),
  ]);
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    sshString("none"),
    sshString("none"),
    sshString(""),
    uint32(1),
    sshString(blob),
    sshString(Buffer.concat([secret, padding(secret.length)])),
  ]);
  const lines = file.toString("base64").match(new RegExp(`.{1,${LINE_LENGTH}}`, "g")) ?? [];
  return ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----", ""].join(
    "\n",
  );
};

/** 1, 2, 3, … up to the next block. */
const padding = (length: number): Buffer =>
  Buffer.from(Array.from({ length: (BLOCK - (length % BLOCK)) % BLOCK }, (_, index) => index + 1));
