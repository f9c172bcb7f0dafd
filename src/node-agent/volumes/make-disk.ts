import { LOCAL_POOL } from "../../api/storage-pool.ts";
import { finishAdoption } from "./adopt.ts";
import { chainOf, headerOf } from "./chains.ts";
import { copyAboveImage, copyAll, openSnapshot } from "./copy.ts";
import {
  DamagedDiskError,
  describeDisk,
  DiskBusyError,
  DiskRefused,
  DiskStateError,
  failureOf,
} from "./failure.ts";
import type { JobOptions } from "./jobs.ts";
import { type DiskRecord, FORMER_LAYER, newRecord } from "./record.ts";
import { destroy, diskKey, inTurn, isSameDisk, type Room } from "./room.ts";
import { settleWhileOff } from "./settle.ts";
import { made } from "./transitions.ts";
import type { CachedImage, DesiredDisk, DiskOutcome, DiskRef, LayerFile } from "./types.ts";

const MiB = 2 ** 20;
/** Name of the layer that a disk begins with. */
export const FIRST_LAYER = "base";
const RETRY_MS = 30_000;

const requireFit = (what: string, sizeBytes: number, { sizeMiB }: DesiredDisk): void => {
  if (sizeBytes <= sizeMiB * MiB) return;
  throw new DiskRefused(
    "TooLarge",
    `${what} has ${Math.ceil(sizeBytes / MiB)} MiB, but the new disk is to have ${sizeMiB} MiB; make it larger`,
  );
};

/** An overlay holds differences: on another content they would be garbage, and the guest's data with them. */
const requireSameImage = ({ image }: DiskRecord, { source }: DesiredDisk): void => {
  if (image === undefined || source.kind !== "image" || image.checksum === source.image.checksum) return;
  throw new DiskRefused(
    "ChecksumMismatch",
    `this disk was made on an image with ${image.checksum}, but the source now serves ${source.image.checksum}; serve the former file again`,
  );
};

const isLocal = ({ pool }: DiskRef): boolean => pool === LOCAL_POOL;

/** The record of a source that is a disk; refuses one that is not there. */
const sourceRecord = async (
  room: Room,
  { source, ref }: DesiredDisk & { readonly source: { readonly kind: "snapshot" } },
): Promise<DiskRecord> => {
  const { disk, snapshotUid } = source;
  if (isSameDisk(disk, ref)) throw new DiskStateError(`${describeDisk(ref)} cannot be a copy of itself`);
  const record = await room.directories.read(disk);
  if (record?.snapshots.some(({ uid }) => uid === snapshotUid) === true) return record;
  throw new DiskRefused(
    "NotFound",
    `there is no snapshot ${snapshotUid} of ${describeDisk(disk)} on this node`,
  );
};

const isOfSnapshot = (
  want: DesiredDisk,
): want is DesiredDisk & { readonly source: { readonly kind: "snapshot" } } =>
  want.source.kind === "snapshot";

/** What is to be written down before the first byte: images that are named there stay in the cache. */
const planned = async (room: Room, want: DesiredDisk): Promise<DiskRecord> => {
  const { source, ref } = want;
  if (source.kind === "image") {
    const { uid, checksum, virtualSizeBytes } = source.image;
    requireFit("the disk in the image", virtualSizeBytes, want);
    return newRecord(isLocal(ref) ? { image: { uid, checksum } } : { copiedImageUid: uid });
  }
  if (!isOfSnapshot(want)) return newRecord({});
  const record = await sourceRecord(room, want);
  const { disk, snapshotUid } = want.source;
  const frozen = record.snapshots.find(({ uid }) => uid === snapshotUid);
  if (frozen !== undefined)
    requireFit("its source", (await headerOf(room, disk, frozen.layer)).virtualSizeBytes, want);
  const staysOnImage = isLocal(ref) && isLocal(disk) && record.image !== undefined;
  return newRecord(staysOnImage ? { image: record.image } : {});
};

const imageAsFile = ({ path, format }: CachedImage): LayerFile => ({ path, format, isImage: true });

/** The copy appears under the first layer's name when it is whole and durable. */
const copyJob =
  (room: Room, want: DesiredDisk) =>
  async (job: JobOptions): Promise<void> => {
    const path = room.directories.layer(want.ref, FIRST_LAYER);
    const to = `${path}.new`;
    const sizeBytes = want.sizeMiB * MiB;
    // Of an agent that was killed.
    await destroy(room, want.ref.pool, to, job.signal);
    if (want.source.kind === "image")
      await copyAll(room, { from: imageAsFile(want.source.image), to, sizeBytes }, job);
    else if (want.source.kind === "snapshot") {
      using source = await openSnapshot(room, want.source.disk, want.source.snapshotUid);
      const image = source.files.find(({ isImage }) => isImage);
      const record = await room.directories.require(want.ref);
      if (image === undefined || record.image === undefined)
        await copyAll(room, { from: source.top, to, sizeBytes }, job);
      else await copyAboveImage(room, { from: source.top, image, to, sizeBytes }, job);
    }
    await room.files.rename(to, path);
  };

const makeNew = async (room: Room, want: DesiredDisk, signal: AbortSignal): Promise<DiskOutcome> => {
  const { ref, source } = want;
  const { directories, qemuImg, files, jobs } = room;
  const key = diskKey(ref);
  const state = jobs.state(key);
  if (state !== undefined) return state;
  const path = directories.layer(ref, FIRST_LAYER);
  const isThere = (await files.stat(path)) !== undefined;
  if (isThere && (await directories.read(ref)) === undefined)
    throw new DamagedDiskError(`${describeDisk(ref)}: ${path} is there, but its record disk.json is not`);
  if (!isThere) {
    const record = await planned(room, want);
    await directories.make(ref);
    await directories.write(ref, record);
    const isCopy = source.kind === "snapshot" || (source.kind === "image" && !isLocal(ref));
    if (isCopy) return jobs.start({ key, uid: ref.uid, tellsProgress: true }, copyJob(room, want));
    const backing = source.kind === "image" ? imageAsFile(source.image) : undefined;
    await qemuImg.create(path, { sizeBytes: want.sizeMiB * MiB, backing }, { signal });
  }
  return ready(room, ref, await directories.write(ref, made(await directories.require(ref), FIRST_LAYER)));
};

const ready = async (room: Room, ref: DiskRef, record: DiskRecord): Promise<DiskOutcome> => {
  const chain = await chainOf(room, ref, record);
  if (chain === undefined) throw new DiskStateError(`${describeDisk(ref)} has no head`);
  return { kind: "ready", chain };
};

/** Throws while a restore has switched some disks of the machine and not this one, or the other way round. */
const requireDecided = async (room: Room, ref: DiskRef, { pending }: DiskRecord): Promise<void> => {
  if (pending?.kind !== "restore") return;
  const lead = isSameDisk(pending.lead, ref) ? pending : (await room.directories.read(pending.lead))?.pending;
  const decision = lead?.kind === "restore" && lead.uid === pending.uid ? lead.state : undefined;
  const hasHappened = decision === "switched" || decision === "finishing";
  const isHere = pending.state === "switched" || pending.state === "finishing";
  if (hasHappened === isHere && decision !== "undoing") return;
  throw new DiskBusyError(ref, `restore ${pending.uid} is under way; finish or undo it first`);
};

const useExisting = async (
  room: Room,
  want: DesiredDisk,
  record: DiskRecord,
  signal: AbortSignal,
): Promise<DiskOutcome> => {
  requireSameImage(record, want);
  await requireDecided(room, want.ref, record);
  return ready(room, want.ref, await settleWhileOff(room, want.ref, record, signal));
};

/** A root disk that an agent made which knew no layers, and whose record is lost: it stands on the machine's image. */
const recordOfFormer = async (room: Room, want: DesiredDisk): Promise<DiskRecord | undefined> => {
  const { directories, files } = room;
  if ((await files.stat(directories.layer(want.ref, FORMER_LAYER))) === undefined) return undefined;
  return directories.write(want.ref, made(await planned(room, want), FORMER_LAYER));
};

const ensureInTurn = async (room: Room, want: DesiredDisk, signal: AbortSignal): Promise<DiskOutcome> => {
  const record = (await room.directories.read(want.ref)) ?? (await recordOfFormer(room, want));
  if (record?.wasRemoved === true)
    throw new DiskStateError(`${describeDisk(want.ref)} was removed; only its snapshots are left`);
  if (record?.retained !== undefined) {
    if (record.retained.uid === want.ref.uid)
      throw new DiskStateError(`${describeDisk(want.ref)} is kept for another Volume; adopt it`);
    return useExisting(room, want, await finishAdoption(room, want.ref, record, signal), signal);
  }
  return record?.head === undefined ? makeNew(room, want, signal) : useExisting(room, want, record, signal);
};

/** See VolumeDisks.ensure. */
export const ensureDisk = async (
  room: Room,
  want: DesiredDisk,
  signal: AbortSignal,
): Promise<DiskOutcome> => {
  // A merge of the existing disk is given up; the copy that makes a new one is not.
  if ((await room.directories.read(want.ref))?.head !== undefined) await room.jobs.cancel(diskKey(want.ref));
  try {
    return await inTurn(room, want.ref, () => ensureInTurn(room, want, signal));
  } catch (error) {
    if (error instanceof DiskRefused)
      return { kind: "refused", reason: error.reason, message: error.message };
    const failure = failureOf(error);
    if (failure.reason !== "NoSpace") throw error;
    return { kind: "failed", ...failure, retryAfterMs: RETRY_MS };
  }
};
