import { type KeyPair, keyPairs } from "../../api/key-pair.ts";
import { type EventRecorder, type KubeClient, secrets } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { withoutBody } from "../private-write.ts";
import { applyStatus } from "../status-writer.ts";
import type { KeyPairStep } from "./decide.ts";
import type { GeneratedKeyPair } from "./generate.ts";
import { secretFor } from "./secret.ts";

export interface KeyPairEffects {
  readonly client: KubeClient;
  readonly stores: Stores;
  readonly events: EventRecorder;
  /** Makes a new key with this comment. */
  readonly generate: (comment: string) => GeneratedKeyPair;
}

type Executors = {
  readonly [Kind in KeyPairStep["kind"]]: (
    effects: KeyPairEffects,
    keyPair: KeyPair,
    step: Extract<KeyPairStep, { readonly kind: Kind }>,
    signal: AbortSignal,
  ) => Promise<void>;
};

const executors: Executors = {
  "create-secret": async ({ client, generate }, keyPair, { secretName }, signal) => {
    const { namespace, name } = keyPair.metadata;
    const body = secretFor(keyPair, secretName, generate(`${namespace}/${name}`));
    try {
      await client.create(secrets, body, { signal });
    } catch (error) {
      throw withoutBody(error, `${namespace}/${secretName}`);
    }
  },
  "apply-status": async ({ client, stores }, keyPair, { status }, signal) => {
    await applyStatus({ client, resource: keyPairs, store: stores.keyPairs, signal }, keyPair, status);
  },
  announce: async ({ events }, keyPair, { announcement: { type, reason, message } }) => {
    events.event(keyPair, type, reason, message);
  },
};

/** Carries the steps out, one after the other. */
export const applyKeyPair = async (
  effects: KeyPairEffects,
  keyPair: KeyPair,
  steps: readonly KeyPairStep[],
  signal: AbortSignal,
): Promise<void> => {
  for (const step of steps) await execute(effects, keyPair, step, signal);
};

const execute = <Kind extends KeyPairStep["kind"]>(
  effects: KeyPairEffects,
  keyPair: KeyPair,
  step: Extract<KeyPairStep, { readonly kind: Kind }>,
  signal: AbortSignal,
): Promise<void> => executors[step.kind](effects, keyPair, step, signal);
