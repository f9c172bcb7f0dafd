import { join } from "node:path";
import { baseFile, headerOf, layerAsFile } from "./chains.ts";
import { DiskBusyError } from "./failure.ts";
import { childrenOf, layerNamed, pathDown } from "./layers.ts";
import { type DiskRecord, memoryFile, type PendingMerge } from "./record.ts";
import type { Room } from "./room.ts";
import { freezeCommitted, mergeAbandoned, mergeDone } from "./transitions.ts";
import type { DiskRef } from "./types.ts";

/** Takes what was begun with a disk to an end. All of it is called in the disk's turn. */

/**
 * Whether a block job has done its work. When it has, QEMU has written down
 * another base: of the disk itself after a pull, and after a commit of the layer
 * above those that were committed.
 */
export const isLiveMergeDone = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  { how, top, run, base }: PendingMerge,
): Promise<boolean> => {
  if (how === "pull") {
    const { backingPath } = await headerOf(room, ref, top);
    return backingPath === (await baseFile(room, ref, record, base))?.path;
  }
  const above = pathDown(record, record.head).find((name) => layerNamed(record, name)?.parent === top);
  const into = run.at(-1);
  if (above === undefined || into === undefined) return false;
  return (await headerOf(room, ref, above)).backingPath === layerAsFile(room, ref, into).path;
};

/** Other layers that stand on what was committed do not belong to the guest that runs, so QEMU has left them alone. */
const relinkOthers = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  { top, into, signal }: { readonly top: string; readonly into: string; readonly signal: AbortSignal },
): Promise<void> => {
  const base = layerAsFile(room, ref, into);
  for (const { name } of childrenOf(record, top))
    if ((await headerOf(room, ref, name)).backingPath !== base.path)
      await room.qemuImg.relink(layerAsFile(room, ref, name).path, base, { signal });
};

/** Where a block job writes. */
const writtenBy = ({ how, top, run }: PendingMerge): string => (how === "pull" ? top : (run.at(-1) ?? top));

/** Makes durable what a block job has written to the host. What QEMU holds back is not there yet. */
export const syncLiveMerge = (room: Room, ref: DiskRef, merge: PendingMerge): Promise<void> =>
  room.qemuImg.sync(layerAsFile(room, ref, writtenBy(merge)).path);

/** Writes down that a live merge is done, after what it did is durable. QEMU must hold nothing of it back. */
export const completeLiveMerge = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  merge: PendingMerge,
  signal: AbortSignal,
): Promise<DiskRecord> => {
  await syncLiveMerge(room, ref, merge);
  if (merge.how === "commit")
    await relinkOthers(room, ref, record, { top: merge.top, into: writtenBy(merge), signal });
  return room.directories.write(ref, mergeDone(record));
};

/**
 * Puts the layers back on what they stood on before a live merge of a guest that
 * is off by now. QEMU writes the new backing file into a header as soon as a job
 * has ended, and where the job's clusters are when something is flushed: when it
 * is killed in between, the header is right and the clusters are lost. What lies
 * below is still there, so that going back is right however far it had come.
 */
export const undoLiveMerge = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  { how, top, run }: PendingMerge,
  signal: AbortSignal,
): Promise<DiskRecord> => {
  const former = how === "pull" ? run[0] : top;
  const above = how === "pull" ? [top] : childrenOf(record, top).map(({ name }) => name);
  for (const name of former === undefined ? [] : above) {
    const base = layerAsFile(room, ref, former ?? top);
    if ((await headerOf(room, ref, name)).backingPath !== base.path)
      await room.qemuImg.relink(layerAsFile(room, ref, name).path, base, { signal });
  }
  return room.directories.write(ref, mergeAbandoned(record));
};

/**
 * Puts a layer whose rebase was cut short back on what it stood on. That is
 * right however far it had come, also when the new base was already written and
 * a power cut took some of the copied clusters: the run is still there.
 *
 * It is written down even when it stands there: writing fails while a qemu-img
 * that outlived its agent still works on the file.
 */
export const undoRebase = async (
  room: Room,
  ref: DiskRef,
  { top, run }: PendingMerge,
  signal: AbortSignal,
): Promise<void> => {
  const [former] = run;
  if (former === undefined) return;
  await headerOf(room, ref, top);
  await room.qemuImg.relink(layerAsFile(room, ref, top).path, layerAsFile(room, ref, former), { signal });
};

/** How it stands with QEMU's block job. */
export type LiveMergeState =
  /** It was cancelled or has ended, and QEMU holds nothing of it back. What has been done is seen in the files. */
  | "ended"
  /** QEMU is gone, and with it what it held of the job. */
  | "lost"
  /** It may still be running. */
  | "unknown";

/** The record without a merge: done, or given up. */
export const settleMerge = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  options: { readonly live: LiveMergeState; readonly signal: AbortSignal },
): Promise<DiskRecord> => {
  const { pending } = record;
  const { live, signal } = options;
  if (pending?.kind !== "merge") return record;
  if (pending.how === "rebase") await undoRebase(room, ref, pending, signal);
  else if (live === "lost") return undoLiveMerge(room, ref, record, pending, signal);
  else if (live === "unknown") throw new DiskBusyError(ref, "layers are being merged while the guest runs");
  else if (await isLiveMergeDone(room, ref, record, pending))
    return completeLiveMerge(room, ref, record, pending, signal);
  return room.directories.write(ref, mergeAbandoned(record));
};

/**
 * The record of a disk whose guest is off, without a merge or a snapshot that was
 * being taken. The snapshot is taken: if QEMU had changed over, the guest has
 * written to the new layer; if not, that is empty and shows the former one.
 */
export const settleWhileOff = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  signal: AbortSignal,
): Promise<DiskRecord> => {
  const settled = await settleMerge(room, ref, record, { live: "lost", signal });
  return settled.pending?.kind === "snapshot" ? await commitFreeze(room, ref, settled, signal) : settled;
};

/** What libvirt writes at the beginning of a memory file when it is whole, in place of "LibvirtQemudPart": src/qemu/qemu_saveimage.h. */
const WHOLE_MEMORY = "LibvirtQemudSave";

/** A guest that ends while its memory is being saved leaves some of it, or nothing. */
const isMemoryWhole = async ({ files, directories }: Room, ref: DiskRef, snapshotUid: string) => {
  await using file = await files.openForReading(join(directories.of(ref), memoryFile(snapshotUid)));
  return file !== undefined && (await file.read(0, WHOLE_MEMORY.length)).toString("latin1") === WHOLE_MEMORY;
};

/** The new layer becomes the head; one that a killed agent had not made yet is made. */
export const commitFreeze = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  signal: AbortSignal,
): Promise<DiskRecord> => {
  const { pending, head } = record;
  if (pending?.kind !== "snapshot" || head === undefined) return record;
  await ensureOverlay(room, ref, { name: pending.newHead, on: head, sizeLike: head }, signal);
  const isWhole = pending.hasMemory && (await isMemoryWhole(room, ref, pending.uid));
  return room.directories.write(ref, freezeCommitted(record, isWhole));
};

/** An empty layer on another one, as large as a third, unless there is one already. */
export const ensureOverlay = async (
  room: Room,
  ref: DiskRef,
  want: { readonly name: string; readonly on: string; readonly sizeLike: string },
  signal: AbortSignal,
): Promise<void> => {
  const path = layerAsFile(room, ref, want.name).path;
  if ((await room.files.stat(path)) !== undefined) return;
  const { virtualSizeBytes } = await headerOf(room, ref, want.sizeLike);
  const backing = layerAsFile(room, ref, want.on);
  await room.qemuImg.create(path, { sizeBytes: virtualSizeBytes, backing }, { signal });
};
