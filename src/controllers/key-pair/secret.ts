import { apiVersionOf } from "../../api/resource.ts";
import { type KeyPair, keyPairs } from "../../api/key-pair.ts";
import type { Secret, WritableObject } from "../../kube/index.ts";
import type { GeneratedKeyPair } from "./generate.ts";

const PRIVATE_KEY = "ssh-privatekey";
const PUBLIC_KEY = "ssh-publickey";

/** What is known of the Secret that `generate` names. The private half is never part of it. */
export type SecretFact =
  | { readonly kind: "absent" }
  /** Ours: made for this very KeyPair, perhaps by a process that died before it could say so. */
  | { readonly kind: "own"; readonly publicKey: string | undefined }
  /** Made for a KeyPair of the same name that is gone; the garbage collector removes it. */
  | { readonly kind: "predecessor" }
  | { readonly kind: "foreign" };

export const secretFact = (keyPair: KeyPair, secret: Secret | undefined): SecretFact => {
  if (secret === undefined) return { kind: "absent" };
  const owners = (secret.metadata.ownerReferences ?? []).filter((owner) => owner.kind === keyPairs.kind);
  if (owners.some((owner) => owner.uid === keyPair.metadata.uid))
    return { kind: "own", publicKey: textOf(secret.data[PUBLIC_KEY]) };
  return owners.some((owner) => owner.name === keyPair.metadata.name)
    ? { kind: "predecessor" }
    : { kind: "foreign" };
};

const textOf = (base64: string | undefined): string | undefined =>
  base64 === undefined ? undefined : Buffer.from(base64, "base64").toString("utf8").trim();

/** The Secret for a new key: of the type that other tools know, and deleted with its KeyPair. */
export const secretFor = (
  { metadata }: KeyPair,
  secretName: string,
  { publicKey, privateKey }: GeneratedKeyPair,
): WritableObject => ({
  metadata: {
    name: secretName,
    namespace: metadata.namespace,
    ownerReferences: [
      {
        apiVersion: apiVersionOf(keyPairs),
        kind: keyPairs.kind,
        name: metadata.name,
        uid: metadata.uid,
        controller: true,
      },
    ],
  },
  type: "kubernetes.io/ssh-auth",
  data: { [PRIVATE_KEY]: base64Of(privateKey), [PUBLIC_KEY]: base64Of(`${publicKey}\n`) },
});

const base64Of = (text: string): string => Buffer.from(text, "utf8").toString("base64");
