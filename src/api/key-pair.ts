import { z } from "zod";
import { conditions } from "./condition.ts";
import { objectName, observedGeneration, rules } from "./fields.ts";
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
      .describe('An SSH public key as in authorized_keys: "ssh-ed25519 AAAA… comment". One line.'),
    generate: z
      .object({
        secretName: objectName.describe(
          "Name of the Secret of type kubernetes.io/ssh-auth, in the same namespace, that receives the private key (ssh-privatekey) and the public one (ssh-publickey). It must not exist before; it is deleted with the KeyPair.",
        ),
      })
      .optional()
      .describe("Make a new ed25519 key pair, once, and keep the private half in a Secret."),
  })
  .describe("The key: exactly one of publicKey and generate. It cannot be changed.")
  .meta(
    rules(
      {
        rule: "has(self.publicKey) != has(self.generate)",
        message: "exactly one of publicKey and generate must be set",
      },
      { rule: "self == oldSelf", message: "a key pair cannot be changed; make another one" },
    ),
  );

const status = z.object({
  observedGeneration,
  conditions,
  publicKey: sshPublicKey.optional().describe("The public key that guests receive."),
  fingerprint: z
    .string()
    .max(128)
    .optional()
    .describe("Fingerprint of the public key, SHA256:… as `ssh-keygen -l` prints it."),
});

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
