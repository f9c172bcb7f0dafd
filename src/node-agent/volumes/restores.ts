import { headerOf, layerAsFile } from "./chains.ts";
import { describeDisk, DiskBusyError, DiskStateError } from "./failure.ts";
import type { VolumeRestores } from "./index.ts";
import { leadFirst } from "./lead.ts";
import type { DiskRecord, PendingRestore } from "./record.ts";
import { alone, inTurn, type Room } from "./room.ts";
import { ensureOverlay, settleMerge } from "./settle.ts";
import {
  restoreBegun,
  restoreFinishing,
  restoreOver,
  restoreSwitched,
  restoreUnswitched,
} from "./transitions.ts";
import type { DiskRef } from "./types.ts";

/**
 * The lead's record decides:
 *
 *   prepare   lead first, then the others: new layers, none of them in use
 *   switch    the lead's head changes: from now on the restore has happened; then the others follow
 *   undo      the lead's head changes back: from now on it has not; the others follow; the lead forgets it
 *   finish    the lead writes that there is no way back; the others forget the restore, then the lead does
 *
 * Whatever a kill leaves behind, the lead has a restore pending as long as any disk has.
 */

const restoreOf = (record: DiskRecord | undefined, restoreUid: string): PendingRestore | undefined =>
  record?.pending?.kind === "restore" && record.pending.uid === restoreUid ? record.pending : undefined;

const stateOfLead = async (room: Room, restoreUid: string, disks: readonly DiskRef[]) => {
  const [lead] = leadFirst(disks);
  if (lead === undefined) return undefined;
  return restoreOf(await room.directories.read(lead), restoreUid)?.state;
};

interface Preparation {
  readonly ref: DiskRef;
  readonly lead: DiskRef;
  readonly restoreUid: string;
  readonly snapshotUid: string;
  readonly signal: AbortSignal;
}

const begin = async (room: Room, want: Preparation): Promise<DiskRecord> => {
  const { ref, lead, restoreUid, snapshotUid, signal } = want;
  const found = await room.directories.require(ref);
  const record = await settleMerge(room, ref, found, { live: "unknown", signal });
  if (restoreOf(record, restoreUid) !== undefined) return record;
  if (record.pending !== undefined) throw new DiskBusyError(ref, `a ${record.pending.kind} is under way`);
  const onto = record.snapshots.find(({ uid }) => uid === snapshotUid)?.layer;
  if (onto === undefined || record.head === undefined)
    throw new DiskStateError(`there is no snapshot ${snapshotUid} of ${describeDisk(ref)} to go back to`);
  const intent = { uid: restoreUid, lead, onto, oldHead: record.head };
  return room.directories.write(ref, restoreBegun(record, intent));
};

/** The new head is as large as the disk is now: a Volume never shrinks. What was added later reads as zeros. */
const prepareDisk = async (room: Room, want: Preparation): Promise<void> => {
  const { ref, restoreUid, signal } = want;
  const restore = restoreOf(await begin(room, want), restoreUid);
  if (restore === undefined) return;
  if (restore.state !== "prepared")
    throw new DiskBusyError(ref, `restore ${restoreUid} has come further already (${restore.state})`);
  const { newHead, onto, oldHead } = restore;
  await ensureOverlay(room, ref, { name: newHead, on: onto, sizeLike: oldHead }, signal);
};

const requirePrepared = async (room: Room, ref: DiskRef, restoreUid: string): Promise<void> => {
  const restore = restoreOf(await room.directories.read(ref), restoreUid);
  const isThere =
    restore !== undefined &&
    restore.state !== "undoing" &&
    (await room.files.stat(layerAsFile(room, ref, restore.newHead).path)) !== undefined;
  if (!isThere)
    throw new DiskStateError(`restore ${restoreUid} of ${describeDisk(ref)} has not been prepared`);
  await headerOf(room, ref, restore.newHead);
};

/** One event of this restore in one record; nothing when the disk has no part in it. */
const change = (
  room: Room,
  ref: DiskRef,
  restoreUid: string,
  event: (record: DiskRecord) => DiskRecord,
): Promise<void> =>
  inTurn(room, ref, async () => {
    const record = await room.directories.read(ref);
    if (record !== undefined && restoreOf(record, restoreUid) !== undefined)
      await room.directories.write(ref, event(record));
  });

const switchAll =
  (room: Room): VolumeRestores["switch"] =>
  async (restoreUid, disks) => {
    const decision = await stateOfLead(room, restoreUid, disks);
    if (decision === undefined || decision === "prepared")
      for (const ref of disks) await requirePrepared(room, ref, restoreUid);
    else if (decision !== "switched")
      throw new DiskStateError(`restore ${restoreUid} cannot be switched: it is ${decision}`);
    for (const ref of leadFirst(disks)) await change(room, ref, restoreUid, restoreSwitched);
  };

const undo =
  (room: Room): VolumeRestores["undo"] =>
  async (restoreUid, disks) => {
    if ((await stateOfLead(room, restoreUid, disks)) === "finishing")
      throw new DiskStateError(`restore ${restoreUid} is being finished; there is no way back`);
    const [lead, ...others] = leadFirst(disks);
    if (lead === undefined) return;
    await change(room, lead, restoreUid, restoreUnswitched);
    for (const ref of others)
      await change(room, ref, restoreUid, (record) => restoreOver(restoreUnswitched(record)));
    await change(room, lead, restoreUid, restoreOver);
  };

/** Each disk is looked at before it is decided. */
const requireSwitched = async (room: Room, restoreUid: string, disks: readonly DiskRef[]): Promise<void> => {
  for (const ref of disks) {
    const restore = restoreOf(await room.directories.read(ref), restoreUid);
    if (restore?.state !== "switched")
      throw new DiskStateError(`restore ${restoreUid} of ${describeDisk(ref)} has not been switched`);
  }
};

const finish =
  (room: Room): VolumeRestores["finish"] =>
  async (restoreUid, disks) => {
    const [lead, ...others] = leadFirst(disks);
    const decision = await stateOfLead(room, restoreUid, disks);
    if (decision === undefined || lead === undefined) return;
    if (decision !== "finishing") await requireSwitched(room, restoreUid, disks);
    await change(room, lead, restoreUid, restoreFinishing);
    for (const ref of [...others, lead]) await change(room, ref, restoreUid, restoreOver);
  };

export const createRestores = (room: Room): VolumeRestores => ({
  async prepare({ restoreUid, snapshotUid, disks }, { signal }) {
    const [lead] = leadFirst(disks);
    if (lead === undefined) throw new DiskStateError(`restore ${restoreUid} names no disks`);
    for (const ref of leadFirst(disks))
      await alone(room, ref, () => prepareDisk(room, { ref, lead, restoreUid, snapshotUid, signal }));
  },
  switch: switchAll(room),
  undo: undo(room),
  finish: finish(room),
  find: (restoreUid, disks) => stateOfLead(room, restoreUid, disks),
});
