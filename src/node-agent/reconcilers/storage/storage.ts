import { LOCAL_POOL } from "../../../api/storage-pool.ts";
import type { AllocatedImage, VirtualMachineAllocation } from "../../../api/virtual-machine.ts";
import type { Volume } from "../../../api/volume.ts";
import { type PlacedMachine, rootDiskOf, volumeDiskOf, volumeSizeMiB } from "../../desired.ts";
import type { Disks } from "../../disks/index.ts";
import type { ImageOutcome } from "../../disks/types.ts";
import { diskReferenceOf, type DiskUsers } from "./disk-users.ts";
import { type Freezer, NotQuiescedError } from "./freeze.ts";
import type { MissingStorage } from "../machine/machine-status.ts";
import type { Volumes } from "../../volumes/index.ts";
import type { CachedImage, DiskChain, DiskOutcome, DiskRef, DiskSource } from "../../volumes/types.ts";

/** What disks are made with. */
export interface StorageContext {
  readonly images: Pick<Disks, "useImage">;
  readonly volumes: Volumes;
  readonly users: DiskUsers;
  readonly freezer: Freezer;
}

interface Options {
  readonly signal: AbortSignal;
}

/** What a disk starts as, as the controller resolved it. */
export type DiskOrigin =
  | { readonly kind: "blank" }
  | { readonly kind: "image"; readonly image: AllocatedImage }
  | { readonly kind: "copy"; readonly of: NonNullable<VirtualMachineAllocation["source"]> };

/** A disk as it is to be, and where its content comes from. */
export interface WantedDisk {
  readonly ref: DiskRef;
  readonly sizeMiB: number;
  readonly origin: DiskOrigin;
  /** Whether its object says that it was there before: it is never made twice. */
  readonly wasMade: boolean;
}

/** Where a disk stands. */
export type StoredDisk =
  | { readonly kind: "ready"; readonly chain: DiskChain }
  | (MissingStorage & { readonly progressPercent?: number | undefined });

const originOf = ({ image, source }: Pick<VirtualMachineAllocation, "image" | "source">): DiskOrigin => {
  if (image !== undefined) return { kind: "image", image };
  return source === undefined ? { kind: "blank" } : { kind: "copy", of: source };
};

export const wantedRootDisk = (target: PlacedMachine): WantedDisk => ({
  ref: rootDiskOf(target),
  sizeMiB: target.allocation.flavor.diskMiB,
  origin: originOf(target.allocation),
  wasMade: target.machine.status?.guest?.startedAt !== undefined,
});

export const wantedVolumeDisk = (volume: Volume): WantedDisk => ({
  ref: volumeDiskOf(volume),
  sizeMiB: volumeSizeMiB(volume),
  origin: originOf(volume.status?.allocation ?? {}),
  wasMade: volume.status?.sizeMiB !== undefined,
});

/** UID of the disk that was frozen only for the copy that this one began as: when it is made, that may be merged. */
export const copiedFrom = ({ origin }: WantedDisk): readonly string[] =>
  origin.kind === "copy" && origin.of.snapshotUid === undefined ? [diskReferenceOf(origin.of).uid] : [];

/** UIDs of what must hold still while a disk of that origin is made. */
export const sourceUids = (origin: DiskOrigin, users: DiskUsers): readonly string[] => {
  if (origin.kind !== "copy" || origin.of.snapshotUid !== undefined) return [];
  const { kind, uid } = diskReferenceOf(origin.of);
  return [uid, users.machineOf({ kind, uid })].filter((one) => one !== undefined);
};

const missingImage = (outcome: ImageOutcome): MissingStorage =>
  outcome.kind === "fetching"
    ? { kind: "waiting", reason: "ImageFetching", message: outcome.message }
    : outcome;

/** Works with an image while it stays in this node's cache; or tells why it is not there. */
export const withImage = async <T>(
  image: AllocatedImage,
  work: (cached: CachedImage) => Promise<T>,
  { images }: Pick<StorageContext, "images">,
  options: Options,
): Promise<T | MissingStorage> => {
  const used = await images.useImage(image, work, options);
  return used.kind === "done" ? used.result : missingImage(used);
};

const outcomeOf = (outcome: DiskOutcome, what: string): StoredDisk => {
  if (outcome.kind !== "working") return outcome;
  const { progressPercent } = outcome;
  return { kind: "waiting", reason: "Copying", message: `${what} is being copied.`, progressPercent };
};

/** A disk of this node as it is at this moment, or as a snapshot shows it. */
const copySource = async (
  { ref, origin }: WantedDisk & { readonly origin: { readonly kind: "copy" } },
  { volumes, freezer }: StorageContext,
  options: Options,
): Promise<DiskSource | MissingStorage> => {
  const { kind, uid, snapshotUid } = diskReferenceOf(origin.of);
  const disk = await volumes.disks.locate(kind, uid, options);
  if (disk === undefined) {
    const message = `The disk to copy (${kind} ${uid}) is not on this node.`;
    return { kind: "refused", reason: "NotFound", message };
  }
  if (snapshotUid !== undefined) return { kind: "snapshot", disk, snapshotUid };
  // Named after the copy, so that whoever finds it knows what it is for.
  await freezer.freeze(
    { snapshotUid: ref.uid, disks: [disk], withMemory: false, quiesce: "IfPossible" },
    options,
  );
  return { kind: "snapshot", disk, snapshotUid: ref.uid };
};

const isSource = (source: DiskSource | MissingStorage): source is DiskSource =>
  source.kind === "blank" || source.kind === "image" || source.kind === "snapshot";

const isCopy = (want: WantedDisk): want is WantedDisk & { readonly origin: { readonly kind: "copy" } } =>
  want.origin.kind === "copy";

const MISSING_RETRY_MS = 30_000;

/** An empty disk in the place of one that a guest has written to would look like the loss of its data, and become it. */
const dataMissing = ({ ref }: WantedDisk): StoredDisk => ({
  kind: "failed",
  reason: "DataMissing",
  message: `The data of ${ref.kind} ${ref.uid} were in pool ${ref.pool} and are not there now. Is its file system mounted?`,
  retryAfterMs: MISSING_RETRY_MS,
});

/**
 * Makes the disk, or finds it. Never waits for a download or a copy. A disk
 * that exists is never made again, and needs nothing of its origin but the
 * image that it stands on.
 */
export const ensureDisk = async (
  want: WantedDisk,
  context: StorageContext,
  options: Options,
): Promise<StoredDisk> => {
  const { ref, sizeMiB, origin } = want;
  const ensure = async (source: DiskSource): Promise<StoredDisk> =>
    outcomeOf(await context.volumes.disks.ensure({ ref, sizeMiB, source }, options), "The disk");
  const exists = (await context.volumes.disks.find(ref, options)) !== undefined;
  if (!exists && want.wasMade) return dataMissing(want);
  const needsImage = origin.kind === "image" && (!exists || ref.pool === LOCAL_POOL);
  if (needsImage) {
    return withImage(origin.image, (image) => ensure({ kind: "image", image }), context, options);
  }
  if (exists || !isCopy(want)) return ensure({ kind: "blank" });
  try {
    const source = await copySource(want, context, options);
    return isSource(source) ? await ensure(source) : source;
  } catch (error) {
    if (!(error instanceof NotQuiescedError)) throw error;
    return { kind: "refused", reason: "QuiesceFailed", message: error.message };
  }
};

const GROW_RETRY_MS = 10_000;

/** Makes the disk of a guest that is off as large as it is to be. */
export const growWhileOff = async (
  { ref, sizeMiB }: WantedDisk,
  chain: DiskChain,
  { volumes }: Pick<StorageContext, "volumes">,
  options: Options,
): Promise<StoredDisk> => {
  if (chain.virtualSizeBytes >= sizeMiB * 2 ** 20) return { kind: "ready", chain };
  await volumes.disks.grow(ref, sizeMiB, options);
  const grown = await volumes.disks.find(ref, options);
  return grown === undefined
    ? { kind: "failed", reason: "DiskGone", message: "The disk has gone.", retryAfterMs: GROW_RETRY_MS }
    : { kind: "ready", chain: grown };
};
