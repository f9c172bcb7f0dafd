import { join } from "node:path";
import { chainOf, headerOf, requireIntact } from "./chains.ts";
import { DamagedDiskError, describeDisk, DiskStateError } from "./failure.ts";
import type { VolumeDisks } from "./index.ts";
import { layerNamed } from "./layers.ts";
import { ensureDisk, FIRST_LAYER } from "./make-disk.ts";
import { adoptDisk } from "./adopt.ts";
import { type DiskRecord, isOwnFile, layerFile, memoryFile, newRecord } from "./record.ts";
import { alone, inTurn, type Room, type RoomWithMerges } from "./room.ts";
import { settleWhileOff } from "./settle.ts";
import { headDropped, restoreOver, restoreUnswitched, retainedFor } from "./transitions.ts";
import type {
  DiskRef,
  DiskSnapshot,
  FormerVolume,
  FoundDisk,
  PendingOperation,
  RemovalOutcome,
  VolumeOptions,
} from "./types.ts";

const MiB = 2 ** 20;

const sizeOnDisk = async ({ files }: Room, path: string): Promise<number> =>
  (await files.stat(path))?.allocatedBytes ?? 0;

/** Paths of all that is in the directory of a disk, below it. */
const filesIn = async ({ files, directories }: Room, ref: DiskRef): Promise<readonly string[]> => {
  const directory = directories.of(ref);
  const memory = await files.list(join(directory, "memory"));
  return [...(await files.list(directory)), ...memory.map((name) => `memory/${name}`)];
};

const usedBytes = async (room: Room, ref: DiskRef): Promise<number> => {
  let sum = 0;
  for (const path of await filesIn(room, ref))
    sum += await sizeOnDisk(room, join(room.directories.of(ref), path));
  return sum;
};

const snapshotsOf = async (
  room: Room,
  ref: DiskRef,
  { snapshots }: DiskRecord,
): Promise<readonly DiskSnapshot[]> => {
  const found: DiskSnapshot[] = [];
  for (const { uid, layer, hasMemory } of snapshots)
    found.push({
      uid,
      virtualSizeBytes: (await headerOf(room, ref, layer)).virtualSizeBytes,
      usedBytes: await sizeOnDisk(room, join(room.directories.of(ref), layerFile(layer))),
      memoryBytes: hasMemory ? await sizeOnDisk(room, join(room.directories.of(ref), memoryFile(uid))) : 0,
    });
  return found;
};

const pendingOf = ({ pending }: DiskRecord): PendingOperation | undefined => {
  if (pending === undefined) return undefined;
  if (pending.kind === "snapshot") return { kind: "snapshot", snapshotUid: pending.uid };
  if (pending.kind === "restore") return { kind: "restore", restoreUid: pending.uid, state: pending.state };
  return { kind: "merge" };
};

const stateOf = (record: DiskRecord | undefined): FoundDisk["state"] => {
  if (record === undefined) return "unfinished";
  if (record.wasRemoved || record.retained !== undefined) return "kept";
  return record.head === undefined ? "unfinished" : "ready";
};

const formerOf = ({ namespace, name }: FormerVolume): FormerVolume => ({ namespace, name });

const describe = async (room: Room, ref: DiskRef): Promise<FoundDisk> => {
  const used = await usedBytes(room, ref);
  try {
    const record = await room.directories.read(ref);
    const pending = record === undefined ? undefined : pendingOf(record);
    return {
      ref,
      state: stateOf(record),
      snapshots: record === undefined ? [] : await snapshotsOf(room, ref, record),
      ...(pending === undefined ? {} : { pending }),
      ...(record?.retained === undefined ? {} : { retained: formerOf(record.retained) }),
      usedBytes: used,
    };
  } catch (err) {
    if (!(err instanceof DamagedDiskError)) throw err;
    room.logger.warn({ uid: ref.uid, err }, "a disk is damaged; it is left as it is");
    return { ref, state: "damaged", snapshots: [], usedBytes: used };
  }
};

const grow = async (room: Room, ref: DiskRef, sizeMiB: number, signal: AbortSignal): Promise<void> => {
  const record = await settleWhileOff(room, ref, await room.directories.require(ref), signal);
  const { head } = record;
  if (head === undefined || layerNamed(record, head) === undefined)
    throw new DiskStateError(`${describeDisk(ref)} has no head that could grow`);
  const { virtualSizeBytes } = await headerOf(room, ref, head);
  if (virtualSizeBytes >= sizeMiB * MiB) return;
  await requireIntact(room, ref, record, head);
  await room.qemuImg.resize(room.directories.layer(ref, head), sizeMiB * MiB, { signal });
};

/** A disk whose record is lost goes with all its files. */
const recordOfLost = async (room: Room, ref: DiskRef): Promise<DiskRecord | undefined> => {
  if ((await room.files.stat(room.directories.of(ref))) === undefined) return undefined;
  const doomed = (await filesIn(room, ref)).filter(isOwnFile);
  return room.directories.write(ref, { ...newRecord({}), wasRemoved: true, doomed });
};

/** Writes down that the disk is to go; which of its layers go, the plan of merges finds out. */
const giveUp = async (room: Room, ref: DiskRef, signal: AbortSignal): Promise<DiskRecord | undefined> => {
  const { directories } = room;
  const record = await directories.read(ref);
  if (record === undefined) return recordOfLost(room, ref);
  if (record.wasRemoved) return record;
  if (record.head !== undefined)
    return directories.write(ref, headDropped(await settleWhileOff(room, ref, record, signal)));
  const doomed = [...record.doomed, layerFile(FIRST_LAYER)];
  return directories.write(ref, { ...headDropped(record), doomed });
};

const remove = async (
  room: RoomWithMerges,
  ref: DiskRef,
  options: VolumeOptions,
): Promise<RemovalOutcome> => {
  const begun = await room.directories.read(ref);
  // A removal that wipes goes on; everything else that is done to the disk ends.
  const giveUpInTurn = () => giveUp(room, ref, options.signal);
  const record =
    begun?.wasRemoved === true ? await inTurn(room, ref, giveUpInTurn) : await alone(room, ref, giveUpInTurn);
  if (record === undefined) return { kind: "gone" };
  const outcome = await room.merges.advance(ref, { isRunning: false }, options);
  if (outcome.kind === "gone" || outcome.kind === "working" || outcome.kind === "failed") return outcome;
  const snapshotUids = record.snapshots.map(({ uid }) => uid);
  return snapshotUids.length > 0 ? { kind: "kept", snapshotUids } : { kind: "working", progressPercent: 0 };
};

export const createVolumeDisks = (room: RoomWithMerges): VolumeDisks => ({
  ensure: (want, { signal }) => ensureDisk(room, want, signal),

  find: (ref) =>
    inTurn(room, ref, async () => {
      const record = await room.directories.read(ref);
      if (record?.image !== undefined && (await room.findImage(record.image.uid)) === undefined)
        return undefined;
      return record === undefined ? undefined : chainOf(room, ref, record);
    }),

  async locate(kind, uid) {
    for (const { name } of room.directories.pools) {
      const ref = { pool: name, kind, uid };
      if ((await room.files.stat(room.directories.of(ref))) !== undefined) return ref;
    }
    return undefined;
  },

  grow: (ref, sizeMiB, { signal }) => alone(room, ref, () => grow(room, ref, sizeMiB, signal)),
  remove: (ref, options) => remove(room, ref, options),

  retain: (ref, former, { signal }) =>
    alone(room, ref, async () => {
      const record = await settleWhileOff(room, ref, await room.directories.require(ref), signal);
      if (record.head === undefined) throw new DiskStateError(`${describeDisk(ref)} has no data to retain`);
      const decided =
        record.pending?.kind === "restore" && record.pending.state === "prepared"
          ? restoreOver(restoreUnswitched(record))
          : restoreOver(record);
      await room.directories.write(ref, retainedFor(decided, ref.uid, former));
    }),

  adopt: (want, { signal }) => adoptDisk(room, want, signal),

  async list({ signal }) {
    const found: FoundDisk[] = [];
    for (const ref of await room.directories.list()) {
      signal.throwIfAborted();
      found.push(await inTurn(room, ref, () => describe(room, ref)));
    }
    return found;
  },
});
