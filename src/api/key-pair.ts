import { z } from "zod";
import { conditions } from "./condition.ts";
import { exactlyOneOf, objectName, observedGeneration, rules, unchangeable } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

/** One line in OpenSSH's format: type, base64, optional comment. No control characters. */
export const sshPublicKey = z
  .string()
  .min(1)
  .max(8192)
  .regex(
    /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2}( [ -~]*)?$/,
  );

const spec = z
  .object({
    publicKey: sshPublicKey
      .optional()
      .describe(
        'An SSH public key in one line, as in authorized_keys: "ssh-ed25519 AAAA… comment". Types ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256, -384 and -521, and those of security keys (sk-…).',
      ),
    generate: z
      .object({
        secretName: objectName.describe(
          "Name of the Secret that is made in this namespace, of type kubernetes.io/ssh-auth, with the private key (ssh-privatekey) and the public key (ssh-publickey). A Secret of that name must not exist before. It is deleted with the KeyPair.",
        ),
      })
      .optional()
      .describe("Makes a new ed25519 key, once, and keeps the private half in a Secret."),
  })
  .describe("The key: exactly one of publicKey and generate. It cannot be changed.")
  .meta(
    rules(
      exactlyOneOf("publicKey", "generate"),
      unchangeable("a key pair cannot be changed; make another one"),
    ),
  );

const status = z
  .object({
    observedGeneration,
    conditions,
    publicKey: sshPublicKey.optional().describe("The public key that guests receive."),
    fingerprint: z
      .string()
      .max(128)
      .regex(/^SHA256:[A-Za-z0-9+/]{43}$/)
      .optional()
      .describe("Fingerprint of the public key, SHA256:… as `ssh-keygen -l` prints it."),
  })
  .describe("The public key, as guests receive it.");

export const keyPairs = defineKind({
  kind: "KeyPair",
  plural: "keypairs",
  singular: "keypair",
  shortNames: ["kp"],
  scope: "Namespaced",
  description: "An SSH key whose holder may log in to the virtual machines that name it.",
  spec,
  status,
  columns: [
    {
      name: "FINGERPRINT",
      type: "string",
      jsonPath: ".status.fingerprint",
      description: "Fingerprint of the key",
    },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether machines may use it",
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type KeyPair = ObjectOf<typeof keyPairs>;
