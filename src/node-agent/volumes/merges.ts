import { join } from "node:path";
import { baseFile, layerAsFile, requireIntact } from "./chains.ts";
import type { VolumeMerges } from "./index.ts";
import type { JobOptions, NewJob } from "./jobs.ts";
import { describeDisk, DiskStateError } from "./failure.ts";
import { planMerge } from "./plan.ts";
import type { DiskRecord, PendingMerge } from "./record.ts";
import { alone, destroy, diskKey, inTurn, isBeingRead, type Room } from "./room.ts";
import {
  completeLiveMerge,
  isLiveMergeDone,
  settleMerge,
  syncLiveMerge,
  undoLiveMerge,
  undoRebase,
} from "./settle.ts";
import { fileDeleted, layerDropped, mergeBegun, mergeDone } from "./transitions.ts";
import type { DiskRef, LiveMerge, MergeOutcome } from "./types.ts";

/** One disk in its turn. */
interface Turn {
  readonly room: Room;
  readonly ref: DiskRef;
  readonly isRunning: boolean;
  readonly signal: AbortSignal;
}

/** An outcome, or a record to look at again. */
type Progress = { readonly outcome: MergeOutcome } | { readonly record: DiskRecord };

/**
 * Who advances a merge asks again by itself. To tell everybody each time that it
 * gets on would make them look at the disk, and `ensure` gives merges up.
 */
const quietJob = (ref: DiskRef): NewJob => ({ key: diskKey(ref), uid: ref.uid, tellsProgress: false });

const said = (outcome: MergeOutcome): Progress => ({ outcome });

/** Deletes what the record has given up, file by file. */
const deleteDoomed = async (room: Room, ref: DiskRef, signal: AbortSignal): Promise<DiskRecord> => {
  const { directories } = room;
  let record = await directories.require(ref);
  for (const file of record.doomed) {
    const path = join(directories.of(ref), file);
    for (const name of [path, `${path}.new`]) await destroy(room, ref.pool, name, signal);
    record = await directories.write(ref, fileDeleted(await directories.require(ref), file));
  }
  return record;
};

/** Unlinking is quick; overwriting is not, and nobody waits for it. */
const clearDoomed = async ({ room, ref, signal }: Turn): Promise<Progress> => {
  if (room.directories.pool(ref.pool).wipe === "None")
    return { record: await deleteDoomed(room, ref, signal) };
  const work = (job: JobOptions): Promise<void> => wipeInTurns(room, ref, job);
  return said(room.jobs.start(quietJob(ref), work));
};

/** The wiping itself is done out of turn: only this job touches such files. */
const wipeInTurns = async (room: Room, ref: DiskRef, { signal, onProgress }: JobOptions): Promise<void> => {
  const { directories } = room;
  const all = (await directories.require(ref)).doomed;
  for (const [index, file] of all.entries()) {
    const path = join(directories.of(ref), file);
    for (const name of [path, `${path}.new`]) await destroy(room, ref.pool, name, signal);
    await inTurn(room, ref, async () => {
      signal.throwIfAborted();
      await directories.write(ref, fileDeleted(await directories.require(ref), file));
    });
    onProgress(Math.floor((100 * (index + 1)) / all.length));
  }
};

const isRebaseOf = ({ pending }: DiskRecord, top: string): boolean =>
  pending?.kind === "merge" && pending.how === "rebase" && pending.top === top;

/** Takes a run of layers into the one above while no guest uses it. */
const rebaseJob =
  (room: Room, ref: DiskRef, merge: PendingMerge) =>
  async ({ signal, onProgress }: JobOptions): Promise<void> => {
    const { directories, qemuImg } = room;
    await undoRebase(room, ref, merge, signal);
    const record = await directories.require(ref);
    await requireIntact(room, ref, record, merge.top);
    const base = await baseFile(room, ref, record, merge.base);
    await qemuImg.rebase(layerAsFile(room, ref, merge.top).path, base, { signal, onProgress });
    await inTurn(room, ref, async () => {
      signal.throwIfAborted();
      const present = await directories.require(ref);
      if (isRebaseOf(present, merge.top)) await directories.write(ref, mergeDone(present));
    });
  };

/** The same step as libvirt is to be told it. */
const liveMerge = async (
  { room, ref }: Turn,
  record: DiskRecord,
  merge: PendingMerge,
): Promise<LiveMerge> => {
  const topPath = layerAsFile(room, ref, merge.top).path;
  const into = merge.run.at(-1);
  if (merge.how === "commit" && into !== undefined)
    return { kind: "commit", topPath, basePath: layerAsFile(room, ref, into).path };
  const base = await baseFile(room, ref, record, merge.base);
  return { kind: "pull", diskPath: topPath, ...(base === undefined ? {} : { basePath: base.path }) };
};

/** Goes on with a merge that was begun, by whichever agent. */
const goOn = async (turn: Turn, record: DiskRecord, merge: PendingMerge): Promise<Progress> => {
  const { room, ref, isRunning, signal } = turn;
  if (merge.how === "rebase") return said(room.jobs.start(quietJob(ref), rebaseJob(room, ref, merge)));
  if (!isRunning) return { record: await undoLiveMerge(room, ref, record, merge, signal) };
  // The guest stands still while QEMU writes out what it holds: the less that is, the better.
  if (await isLiveMergeDone(room, ref, record, merge)) await syncLiveMerge(room, ref, merge);
  return said({ kind: "live", merge: await liveMerge(turn, record, merge) });
};

const begin = async ({ room, ref }: Turn, record: DiskRecord, merge: PendingMerge): Promise<Progress> => {
  await requireIntact(room, ref, record, record.head ?? merge.top);
  await requireIntact(room, ref, record, merge.top);
  return { record: await room.directories.write(ref, mergeBegun(record, merge)) };
};

/** No layer is left over: the disk is as it should be, or nothing needs it any more. */
const finish = async ({ room, ref }: Turn, record: DiskRecord): Promise<Progress> => {
  if (!record.wasRemoved || record.layers.length > 0) return said({ kind: "clean" });
  await room.directories.remove(ref);
  return said({ kind: "gone" });
};

const step = async (turn: Turn, record: DiskRecord): Promise<Progress> => {
  const { room, ref, isRunning } = turn;
  const { pending } = record;
  if (pending?.kind === "merge") return goOn(turn, record, pending);
  if (pending !== undefined)
    return said({ kind: "waiting", message: `a ${pending.kind} of the disk is under way (${pending.uid})` });
  if (record.doomed.length > 0) return clearDoomed(turn);
  const next = planMerge(record, { isRunning });
  if (next === undefined) return finish(turn, record);
  if (next.kind === "delete")
    return { record: await room.directories.write(ref, layerDropped(record, next.layer)) };
  return begin(turn, record, next);
};

const advanceInTurn = async (turn: Turn): Promise<MergeOutcome> => {
  const { room, ref, signal } = turn;
  const state = room.jobs.state(diskKey(ref));
  if (state !== undefined) return state;
  let record = await room.directories.read(ref);
  if (record === undefined) return { kind: "gone" };
  if (isBeingRead(room, ref)) return { kind: "waiting", message: "the disk is being copied" };
  for (;;) {
    signal.throwIfAborted();
    const progress = await step(turn, record);
    if ("outcome" in progress) return progress.outcome;
    record = progress.record;
  }
};

export const createMerges = (room: Room): VolumeMerges => ({
  advance: (ref, { isRunning }, { signal }) =>
    inTurn(room, ref, () => advanceInTurn({ room, ref, isRunning, signal })),

  confirm: (ref, { signal }) =>
    inTurn(room, ref, async () => {
      const record = await room.directories.require(ref);
      const { pending } = record;
      if (pending?.kind !== "merge" || pending.how === "rebase") return;
      if (!(await isLiveMergeDone(room, ref, record, pending)))
        throw new DiskStateError(`no header of ${describeDisk(ref)} says that its layers have been merged`);
      await completeLiveMerge(room, ref, record, pending, signal);
    }),

  abandon: (ref, { isRunning }, { signal }) =>
    alone(room, ref, async () => {
      const record = await room.directories.read(ref);
      if (record !== undefined)
        await settleMerge(room, ref, record, { live: isRunning ? "ended" : "lost", signal });
    }),
});
