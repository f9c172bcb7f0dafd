import type { KeyPair } from "../../api/key-pair.ts";
import { type KubeClient, type ObjectKey, secrets } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { type SecretFact, secretFact } from "./secret.ts";

export interface KeyPairFacts {
  readonly keyPair: KeyPair;
  /** Looked at only while a key is to be generated. */
  readonly secret: SecretFact | undefined;
}

/**
 * Secrets are read one by one and when needed, not watched: the controller
 * shall not hold every Secret of the cluster in memory.
 */
export const observeKeyPair = async (
  { client, stores }: { readonly client: KubeClient; readonly stores: Stores },
  key: ObjectKey,
  signal: AbortSignal,
): Promise<KeyPairFacts | undefined> => {
  const keyPair = stores.keyPairs.get(key);
  if (keyPair === undefined) return undefined;
  const { generate } = keyPair.spec;
  if (generate === undefined || keyPair.status?.publicKey !== undefined)
    return { keyPair, secret: undefined };
  const secretKey = { namespace: key.namespace, name: generate.secretName };
  return { keyPair, secret: secretFact(keyPair, await client.get(secrets, secretKey, { signal })) };
};
