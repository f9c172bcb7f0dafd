import { childrenOf, isNamed, layerNamed, pathDown } from "./layers.ts";
import type { DiskRecord, Layer, PendingMerge } from "./record.ts";

/** The next step towards as few layers as can be. */
export type MergeStep = { readonly kind: "delete"; readonly layer: string } | PendingMerge;

/** A layer that only hands its parent's content on to its one child, changed. */
const isPassedThrough = (record: DiskRecord, name: string): boolean =>
  !isNamed(record, name) && childrenOf(record, name).length === 1;

/** The layers right under this one that can go, from the top down. */
const runUnder = (record: DiskRecord, { parent }: Layer): string[] => {
  const run: string[] = [];
  for (const name of pathDown(record, parent)) {
    if (!isPassedThrough(record, name)) break;
    run.push(name);
  }
  return run;
};

/**
 * How a layer takes over those under it, or they it: a guest that runs has the
 * whole chain of its disk open, and then only its own QEMU may change a file of it.
 */
const howFor = (record: DiskRecord, top: string, isRunning: boolean): PendingMerge["how"] => {
  if (!isRunning || !pathDown(record, record.head).includes(top)) return "rebase";
  return top === record.head ? "pull" : "commit";
};

/**
 * Names the next single step, or none when all layers are needed. A layer is
 * needed when it is the head, a snapshot froze it, or two layers stand on it.
 * Nothing goes while a snapshot or a restore is under way: those name layers
 * that are not in the tree yet.
 *
 * A whole run of layers goes at once, into the layer above it: each cluster is
 * copied once, however many snapshots were deleted.
 */
export const planMerge = (
  record: DiskRecord,
  { isRunning }: { readonly isRunning: boolean },
): MergeStep | undefined => {
  if (record.pending !== undefined) return record.pending.kind === "merge" ? record.pending : undefined;
  const names = record.layers.map(({ name }) => name);
  const useless = names.find((name) => !isNamed(record, name) && childrenOf(record, name).length === 0);
  if (useless !== undefined) return { kind: "delete", layer: useless };
  for (const layer of record.layers) {
    const run = isPassedThrough(record, layer.name) ? [] : runUnder(record, layer);
    const lowest = run.at(-1);
    if (lowest === undefined) continue;
    const base = layerNamed(record, lowest)?.parent;
    const how = howFor(record, layer.name, isRunning);
    return { kind: "merge", how, top: layer.name, run, base };
  }
  return undefined;
};
