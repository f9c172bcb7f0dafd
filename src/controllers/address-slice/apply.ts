import { randomInt } from "node:crypto";
import { type AddressSlice, addressSlices } from "../../api/address-slice.ts";
import { isNotFound, type KubeClient, keyOf, type Store } from "../../kube/index.ts";
import type { ControllerMetrics } from "../metrics.ts";
import type { SliceStep } from "./plan.ts";

export interface SliceEffects {
  readonly client: KubeClient;
  readonly store: Store<AddressSlice>;
  readonly metrics: Pick<ControllerMetrics, "addressSliceWrites">;
}

export interface SliceForm<Entry> {
  /** What the slice's name begins with. */
  readonly prefix: string;
  readonly specOf: (entries: readonly Entry[]) => AddressSlice["spec"];
}

/** As in the names that Kubernetes generates: no vowels, so that no words come out. */
const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH = 5;
/** Of an object's name. */
const MAX_NAME_LENGTH = 253;

const sliceName = (prefix: string): string => {
  const letters = Array.from({ length: SUFFIX_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]);
  // A name cut behind a dot would be none.
  const cut = prefix.slice(0, MAX_NAME_LENGTH - SUFFIX_LENGTH - 1).replace(/[.-]+$/, "");
  return `${cut}-${letters.join("")}`;
};

/**
 * Carries a plan out, each write bound to the version that it was made for, and
 * returns when the store shows them, so that the next plan is not made for the
 * past. What is created comes first: of an entry that moves no moment is lost.
 */
export const applySlices = async <Entry>(
  effects: SliceEffects,
  form: SliceForm<Entry>,
  steps: readonly SliceStep<Entry>[],
  signal: AbortSignal,
): Promise<void> => {
  for (const step of steps) {
    const written = await applyStep(effects.client, form, step, signal);
    effects.metrics.addressSliceWrites.inc({ operation: step.kind });
    if (written !== undefined) await effects.store.whenSeen(written.metadata.resourceVersion, signal);
  }
};

const applyStep = async <Entry>(
  client: KubeClient,
  { prefix, specOf }: SliceForm<Entry>,
  step: SliceStep<Entry>,
  signal: AbortSignal,
): Promise<AddressSlice | undefined> => {
  if (step.kind === "create") {
    const body = { metadata: { name: sliceName(prefix) }, spec: specOf(step.entries) };
    return client.create(addressSlices, body, { signal });
  }
  const { uid, resourceVersion } = step.slice.metadata;
  if (step.kind === "delete") {
    await client.delete(addressSlices, keyOf(step.slice), { uid, resourceVersion, signal });
    return undefined;
  }
  // A merge patch sets the list as a whole, also what somebody else has put in.
  const patch = { metadata: { uid, resourceVersion }, spec: specOf(step.entries) };
  try {
    return await client.mergePatch(addressSlices, keyOf(step.slice), patch, { signal });
  } catch (error) {
    // It was deleted; the store will tell, and what it held gets another place.
    if (isNotFound(error)) return undefined;
    throw error;
  }
};
