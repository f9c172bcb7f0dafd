import { join } from "node:path";
import { headerOf, layerAsFile } from "./chains.ts";
import { TRAVERSE_ONLY } from "./directories.ts";
import { describeDisk, DiskBusyError, DiskStateError } from "./failure.ts";
import type { VolumeSnapshots } from "./index.ts";
import { type DiskRecord, memoryFile, type PendingFreeze } from "./record.ts";
import { alone, inTurn, type Room } from "./room.ts";
import { commitFreeze, ensureOverlay, settleMerge } from "./settle.ts";
import { isLead, leadFirst } from "./lead.ts";
import { freezeBegun, freezeUndone, snapshotDiscarded } from "./transitions.ts";
import type { DiskRef, FreezingDisk, PreparedSnapshot, SnapshotState } from "./types.ts";

/** A freeze of this snapshot that was begun. */
const freezeOf = ({ pending }: DiskRecord, snapshotUid: string): PendingFreeze | undefined =>
  pending?.kind === "snapshot" && pending.uid === snapshotUid ? pending : undefined;

const hasTaken = ({ snapshots }: DiskRecord, snapshotUid: string): boolean =>
  snapshots.some(({ uid }) => uid === snapshotUid);

const pathOfMemory = ({ directories }: Room, ref: DiskRef, snapshotUid: string): string =>
  join(directories.of(ref), memoryFile(snapshotUid));

interface Freeze {
  readonly ref: DiskRef;
  readonly snapshotUid: string;
  readonly hasMemory: boolean;
  readonly signal: AbortSignal;
}

/** Written down first, then made: a fresh agent knows what the new file is. Undefined when the disk has the snapshot. */
const prepareDisk = async (room: Room, want: Freeze): Promise<FreezingDisk | undefined> => {
  const { ref, snapshotUid, hasMemory, signal } = want;
  const found = await room.directories.require(ref);
  if (hasTaken(found, snapshotUid)) return undefined;
  const settled = await settleMerge(room, ref, found, { live: "unknown", signal });
  const { head } = settled;
  if (head === undefined) throw new DiskStateError(`${describeDisk(ref)} has no head that could be frozen`);
  const record =
    settled.pending === undefined
      ? await room.directories.write(ref, freezeBegun(settled, snapshotUid, hasMemory))
      : settled;
  const freeze = freezeOf(record, snapshotUid);
  if (freeze === undefined) throw new DiskBusyError(ref, `a ${record.pending?.kind} is under way`);
  if (freeze.hasMemory)
    await room.files.ensureDirectory(join(room.directories.of(ref), "memory"), TRAVERSE_ONLY);
  await ensureOverlay(room, ref, { name: freeze.newHead, on: head, sizeLike: head }, signal);
  return {
    ref,
    path: layerAsFile(room, ref, head).path,
    overlayPath: layerAsFile(room, ref, freeze.newHead).path,
  };
};

const prepare =
  (room: Room): VolumeSnapshots["prepare"] =>
  async ({ snapshotUid, disks, withMemory }, { signal }) => {
    const prepared: FreezingDisk[] = [];
    for (const ref of leadFirst(disks)) {
      const hasMemory = withMemory && isLead(ref, disks);
      const want = { ref, snapshotUid, hasMemory, signal };
      const freezing = await alone(room, ref, () => prepareDisk(room, want));
      if (freezing !== undefined) prepared.push(freezing);
    }
    const [lead] = leadFirst(disks);
    const result: PreparedSnapshot = { disks: prepared };
    return withMemory && lead !== undefined
      ? { ...result, memoryPath: pathOfMemory(room, lead, snapshotUid) }
      : result;
  };

const recordsOf = async (
  room: Room,
  disks: readonly DiskRef[],
): Promise<readonly (DiskRecord | undefined)[]> => {
  const records: (DiskRecord | undefined)[] = [];
  for (const ref of leadFirst(disks)) records.push(await room.directories.read(ref));
  return records;
};

const find = async (room: Room, snapshotUid: string, disks: readonly DiskRef[]): Promise<SnapshotState> => {
  const records = await recordsOf(room, disks);
  const taken = records.filter((record) => record !== undefined && hasTaken(record, snapshotUid));
  if (taken.length > 0) return taken.length === records.length ? "committed" : "committing";
  const isBegun = records.some(
    (record) => record !== undefined && freezeOf(record, snapshotUid) !== undefined,
  );
  return isBegun ? "prepared" : "none";
};

const commit = async (room: Room, snapshotUid: string, ref: DiskRef, signal: AbortSignal): Promise<void> => {
  const record = await room.directories.require(ref);
  if (hasTaken(record, snapshotUid)) return;
  if (freezeOf(record, snapshotUid) === undefined)
    throw new DiskStateError(`snapshot ${snapshotUid} of ${describeDisk(ref)} has not been prepared`);
  await commitFreeze(room, ref, record, signal);
};

/** A guest that has written to the overlay has left the former head for good. */
const requireUnused = async (room: Room, ref: DiskRef, { newHead }: PendingFreeze): Promise<void> => {
  const { path } = layerAsFile(room, ref, newHead);
  if ((await room.files.stat(path)) === undefined || (await headerOf(room, ref, newHead)).isEmpty) return;
  throw new DiskStateError(
    `the guest has written to the new layer of ${describeDisk(ref)}: the snapshot was taken, and must be committed`,
  );
};

/** Each disk is looked at before the first is changed. */
const undo =
  (room: Room): VolumeSnapshots["undo"] =>
  async (snapshotUid, disks) => {
    const state = await find(room, snapshotUid, disks);
    if (state === "committing" || state === "committed")
      throw new DiskStateError(`snapshot ${snapshotUid} was taken; commit it, and discard it then`);
    // The lead goes last: while anything is left, find says so.
    const order = leadFirst(disks).toReversed();
    for (const ref of order) {
      const record = await room.directories.read(ref);
      const freeze = record === undefined ? undefined : freezeOf(record, snapshotUid);
      if (freeze !== undefined) await requireUnused(room, ref, freeze);
    }
    for (const ref of order)
      await inTurn(room, ref, async () => {
        const record = await room.directories.read(ref);
        if (record !== undefined && freezeOf(record, snapshotUid) !== undefined)
          await room.directories.write(ref, freezeUndone(record));
      });
  };

export const createSnapshots = (room: Room): VolumeSnapshots => ({
  prepare: prepare(room),

  async commit(snapshotUid, disks, { signal }) {
    for (const ref of leadFirst(disks)) await inTurn(room, ref, () => commit(room, snapshotUid, ref, signal));
  },

  undo: undo(room),
  find: (snapshotUid, disks) => find(room, snapshotUid, disks),

  async memoryPath(snapshotUid, disks) {
    for (const ref of disks) {
      const record = await room.directories.read(ref);
      const hasMemory = record?.snapshots.some((taken) => taken.uid === snapshotUid && taken.hasMemory);
      if (hasMemory === true) return pathOfMemory(room, ref, snapshotUid);
    }
    return undefined;
  },

  async discard(snapshotUid, disks) {
    for (const ref of disks)
      await inTurn(room, ref, async () => {
        const record = await room.directories.read(ref);
        if (record !== undefined && hasTaken(record, snapshotUid))
          await room.directories.write(ref, snapshotDiscarded(record, snapshotUid));
      });
  },
});
