import { childrenOf, freeLayerName } from "./layers.ts";
import { type DiskRecord, layerFile, memoryFile, type PendingMerge, type PendingRestore } from "./record.ts";
import type { DiskRef, FormerVolume } from "./types.ts";

/** What each event makes of a record. Pure; each result is written in one piece. */

const withoutPending = (record: DiskRecord): DiskRecord => ({ ...record, pending: undefined });

const doom = (record: DiskRecord, ...files: readonly string[]): DiskRecord => ({
  ...record,
  doomed: [...new Set([...record.doomed, ...files])],
});

/** The first layer is there, whole. */
export const made = (record: DiskRecord, name: string): DiskRecord => ({
  ...record,
  copiedImageUid: undefined,
  layers: [{ name }],
  head: name,
});

export const freezeBegun = (record: DiskRecord, uid: string, hasMemory: boolean): DiskRecord => ({
  ...record,
  pending: { kind: "snapshot", uid, newHead: freeLayerName(record, uid), hasMemory },
});

/**
 * The former head is frozen from now on.
 * @param isMemoryWhole whether the memory that was to be kept was written to its end
 */
export const freezeCommitted = (record: DiskRecord, isMemoryWhole: boolean): DiskRecord => {
  const { pending, head } = record;
  if (pending?.kind !== "snapshot" || head === undefined) return record;
  const { uid, newHead } = pending;
  const hasMemory = pending.hasMemory && isMemoryWhole;
  const torn = pending.hasMemory && !isMemoryWhole ? [memoryFile(uid)] : [];
  return {
    ...doom(withoutPending(record), ...torn),
    layers: [...record.layers, { name: newHead, parent: head }],
    head: newHead,
    snapshots: [...record.snapshots, { uid, layer: head, hasMemory }],
  };
};

/** The files of a snapshot that is not going to be are to go. */
export const freezeUndone = (record: DiskRecord): DiskRecord => {
  const { pending } = record;
  if (pending?.kind !== "snapshot") return record;
  const memory = pending.hasMemory ? [memoryFile(pending.uid)] : [];
  return doom(withoutPending(record), layerFile(pending.newHead), ...memory);
};

export const snapshotDiscarded = (record: DiskRecord, uid: string): DiskRecord => {
  const discarded = record.snapshots.find((snapshot) => snapshot.uid === uid);
  if (discarded === undefined) return record;
  const rest = { ...record, snapshots: record.snapshots.filter((snapshot) => snapshot.uid !== uid) };
  return discarded.hasMemory ? doom(rest, memoryFile(uid)) : rest;
};

export const restoreBegun = (
  record: DiskRecord,
  want: { readonly uid: string; readonly lead: DiskRef; readonly onto: string; readonly oldHead: string },
): DiskRecord => ({
  ...record,
  pending: { kind: "restore", ...want, newHead: freeLayerName(record, want.uid), state: "prepared" },
});

const inState = (restore: PendingRestore, state: PendingRestore["state"]): PendingRestore => ({
  ...restore,
  state,
});

export const restoreSwitched = (record: DiskRecord): DiskRecord => {
  const { pending } = record;
  if (pending?.kind !== "restore" || pending.state !== "prepared") return record;
  return {
    ...record,
    layers: [...record.layers, { name: pending.newHead, parent: pending.onto }],
    head: pending.newHead,
    pending: inState(pending, "switched"),
  };
};

/** The disk is as it was before the switch; that this is being undone stays written. */
export const restoreUnswitched = (record: DiskRecord): DiskRecord => {
  const { pending } = record;
  if (pending?.kind !== "restore" || pending.state === "undoing" || pending.state === "finishing")
    return record;
  const back = {
    ...record,
    layers: record.layers.filter(({ name }) => name !== pending.newHead),
    head: pending.oldHead,
    pending: inState(pending, "undoing"),
  };
  return doom(back, layerFile(pending.newHead));
};

/** There is no way back from the switch any more. */
export const restoreFinishing = (record: DiskRecord): DiskRecord => {
  const { pending } = record;
  return pending?.kind === "restore" && pending.state === "switched"
    ? { ...record, pending: inState(pending, "finishing") }
    : record;
};

/** The restore is over, whichever way. */
export const restoreOver = (record: DiskRecord): DiskRecord =>
  record.pending?.kind === "restore" ? withoutPending(record) : record;

export const mergeBegun = (record: DiskRecord, merge: PendingMerge): DiskRecord => ({
  ...record,
  pending: merge,
});

export const mergeAbandoned = (record: DiskRecord): DiskRecord =>
  record.pending?.kind === "merge" ? withoutPending(record) : record;

/** The layer above the run has all that the run had. */
const runTakenOver = (record: DiskRecord, { top, run, base }: PendingMerge): DiskRecord => {
  const gone = new Set(run);
  const layers = record.layers
    .filter(({ name }) => !gone.has(name))
    .map((layer) => (layer.name === top ? { name: top, parent: base } : layer));
  return doom({ ...record, layers }, ...run.map(layerFile));
};

/** The lowest of the run has become what the top was, for those above it and for the snapshots. */
const topCommitted = (record: DiskRecord, { top, run }: PendingMerge): DiskRecord => {
  const into = run.at(-1);
  if (into === undefined) return record;
  const gone = [top, ...run.slice(0, -1)];
  const layers = record.layers
    .filter(({ name }) => !gone.includes(name))
    .map(({ name, parent }) => ({ name, parent: parent === top ? into : parent }));
  const snapshots = record.snapshots.map(({ uid, layer, hasMemory }) => ({
    uid,
    layer: layer === top ? into : layer,
    hasMemory,
  }));
  return doom({ ...record, layers, snapshots }, ...gone.map(layerFile));
};

export const mergeDone = (record: DiskRecord): DiskRecord => {
  const { pending } = record;
  if (pending?.kind !== "merge") return record;
  const rest = withoutPending(record);
  return pending.how === "commit" ? topCommitted(rest, pending) : runTakenOver(rest, pending);
};

/** A layer that nothing needs or stands on. */
export const layerDropped = (record: DiskRecord, name: string): DiskRecord =>
  childrenOf(record, name).length > 0
    ? record
    : doom({ ...record, layers: record.layers.filter((layer) => layer.name !== name) }, layerFile(name));

/** The guest's own state is not needed any more. What a restore had prepared goes with it. */
export const headDropped = (record: DiskRecord): DiskRecord => {
  const { pending } = record;
  const isLoose = pending?.kind === "restore" && !record.layers.some(({ name }) => name === pending.newHead);
  const rest: DiskRecord = {
    ...withoutPending(record),
    head: undefined,
    retained: undefined,
    wasRemoved: true,
  };
  return isLoose ? doom(rest, layerFile(pending.newHead)) : rest;
};

export const fileDeleted = (record: DiskRecord, file: string): DiskRecord => ({
  ...record,
  doomed: record.doomed.filter((doomed) => doomed !== file),
});

export const retainedFor = (record: DiskRecord, uid: string, former: FormerVolume): DiskRecord => ({
  ...record,
  retained: { uid, ...former },
});

export const adopted = (record: DiskRecord): DiskRecord => ({ ...record, retained: undefined });
