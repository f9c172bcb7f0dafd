import type { StoragePoolStatus } from "../../api/storage-pool.ts";
import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { createOneAtATime } from "../host/one-at-a-time.ts";
import { createDirectories } from "./directories.ts";
import { createVolumeDisks } from "./disks.ts";
import { createExports } from "./exports.ts";
import { Jobs } from "./jobs.ts";
import { createMerges } from "./merges.ts";
import { createQemuImg } from "./qemu-img.ts";
import { imagesNamedIn } from "./record.ts";
import { createRestores } from "./restores.ts";
import type { Room } from "./room.ts";
import { createSnapshots } from "./snapshots.ts";
import { createTransfers, type VolumeTransfers } from "./transfers.ts";
import type {
  AdoptionOutcome,
  CachedImage,
  DesiredDisk,
  DiskChain,
  DiskKind,
  DiskOutcome,
  DiskRef,
  ExportOutcome,
  FormerVolume,
  FoundDisk,
  MergeOutcome,
  PreparedSnapshot,
  RemovalOutcome,
  RestoreState,
  RoomLogger,
  SnapshotState,
  StoragePool,
  VolumeOptions,
} from "./types.ts";

export { DamagedDiskError, DiskBusyError, DiskStateError } from "./failure.ts";
export {
  diskManifest,
  type DiskManifest,
  type Reception,
  type ReceptionOutcome,
  type VolumeTransfers,
} from "./transfers.ts";

/**
 * The disks of this node: storage pools, and in them for each disk a directory
 * of layers. All verbs are idempotent, and each can be killed anywhere: the next
 * agent asks `list`, and calls the verb again or its opposite.
 *
 * Verbs throw DiskBusyError when something else is being done with the disk,
 * DiskStateError when the disk is not such that it can be done at all, and
 * DamagedDiskError when files are not as the record says. "Running" means that
 * a QEMU process has the disk open.
 */
export interface Volumes {
  /** For Hypervisor.status.storagePools. A pool whose directory is missing is left out, and logged. */
  pools(options: VolumeOptions): Promise<readonly StoragePoolStatus[]>;
  readonly disks: VolumeDisks;
  readonly snapshots: VolumeSnapshots;
  readonly restores: VolumeRestores;
  readonly merges: VolumeMerges;
  readonly exports: VolumeExports;
  readonly transfers: VolumeTransfers;
  /** UIDs of the images that disks here stand on or are being copied from: they must stay in the cache. */
  imagesInUse(): Promise<ReadonlySet<string>>;
  /**
   * Calls the listener with the UID of a disk, or of an exported image, whose
   * copy has got on, or whose background work of any kind has ended.
   */
  onChange(listener: (uid: string) => void): () => void;
  /** Ends the background work; the next agent does it again. */
  close(): Promise<void>;
}

export interface VolumeDisks {
  /**
   * Makes the disk, or finds it. One that exists is never made again. Never waits for
   * a copy. Call it before each start too: it gives up a merge of the switched-off
   * guest's disk that would be in the way, and tells the chain for the domain XML.
   */
  ensure(want: DesiredDisk, options: VolumeOptions): Promise<DiskOutcome>;
  /** The disk as it is; undefined when there is none that a guest can use, or its image is not in the cache. Changes nothing. */
  find(ref: DiskRef, options: VolumeOptions): Promise<DiskChain | undefined>;
  /** Where a disk is, whatever its pool. */
  locate(kind: DiskKind, uid: string, options: VolumeOptions): Promise<DiskRef | undefined>;
  /** Makes the disk of a guest that is off larger. Never makes it smaller. (libvirt does it for one that runs.) */
  grow(ref: DiskRef, sizeMiB: number, options: VolumeOptions): Promise<void>;
  /** Deletes what no snapshot needs of the disk of a guest that is off. No-op when there is none. */
  remove(ref: DiskRef, options: VolumeOptions): Promise<RemovalOutcome>;
  /** Keeps the disk of a deleted Volume for a later one. */
  retain(ref: DiskRef, former: FormerVolume, options: VolumeOptions): Promise<void>;
  /** Gives a Volume the retained disk of a deleted one of its namespace. Then `ensure` finds it. */
  adopt(
    want: { readonly ref: DiskRef; readonly retainedUid: string; readonly namespace: string },
    options: VolumeOptions,
  ): Promise<AdoptionOutcome>;
  /** Everything that is here, finished or not, in all pools. A shared pool has disks of other nodes' machines too. */
  list(options: VolumeOptions): Promise<readonly FoundDisk[]>;
}

/**
 * A snapshot of a machine: of all its disks at one moment. `disks` is the same
 * set in each call, in any order.
 *
 * Guest off: prepare, commit. Running: prepare, the libvirt snapshot with these
 * overlays (REUSE_EXT), commit; or undo when libvirt says that it has not done it.
 *
 * After a kill, with a state that is prepared: the disks of the running domain
 * tell whether to commit or to undo. When the guest is off by now, prepare and
 * commit are right in both cases: if QEMU had changed over, the guest has written
 * to the overlays; if not, they are empty and show what is below.
 */
export interface VolumeSnapshots {
  /** Makes the overlays, on all disks that do not have the snapshot yet. */
  prepare(
    want: { readonly snapshotUid: string; readonly disks: readonly DiskRef[]; readonly withMemory: boolean },
    options: VolumeOptions,
  ): Promise<PreparedSnapshot>;
  /** From now on the overlays are what the guest writes. */
  commit(snapshotUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<void>;
  /** Takes the overlays away. Refuses when a guest has written to one. No-op when there is none. */
  undo(snapshotUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<void>;
  find(snapshotUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<SnapshotState>;
  /** Path of the guest's memory in a committed snapshot; undefined when there is none. */
  memoryPath(
    snapshotUid: string,
    disks: readonly DiskRef[],
    options: VolumeOptions,
  ): Promise<string | undefined>;
  /** Forgets the snapshot. What only it needed goes with `merges.advance` of each disk. */
  discard(snapshotUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<void>;
}

/**
 * Puts the disks of a machine back to a snapshot, all or none. prepare (the
 * guest may run), cut the power, switch, start the guest; then finish, or undo.
 * Which of them it is, is decided by one write in the record of one of the
 * disks; `find` reads it.
 */
export interface VolumeRestores {
  prepare(
    want: { readonly restoreUid: string; readonly snapshotUid: string; readonly disks: readonly DiskRef[] },
    options: VolumeOptions,
  ): Promise<void>;
  /** The guest must be off. `disks.ensure` tells the new chains then. Call it again after a kill: `find` says switched when the first disk is. */
  switch(restoreUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<void>;
  /** Everything is as before the restore; after a switch the guest must be off. No-op when there is none; throws when `finish` was called. */
  undo(restoreUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<void>;
  /** There is no way back any more. What only the former state needed goes with `merges.advance` of each disk. */
  finish(restoreUid: string, disks: readonly DiskRef[], options: VolumeOptions): Promise<void>;
  find(
    restoreUid: string,
    disks: readonly DiskRef[],
    options: VolumeOptions,
  ): Promise<RestoreState | undefined>;
}

export interface VolumeMerges {
  /** Takes the next step towards as few layers as the snapshots allow. Call it until it is clean or gone. */
  advance(
    ref: DiskRef,
    state: { readonly isRunning: boolean },
    options: VolumeOptions,
  ): Promise<MergeOutcome>;
  /**
   * QEMU says that its block job is done, and has written out all that it held
   * since. Not before: what a job has copied is lost with QEMU until then, while
   * the layers' headers say already that nothing else is needed.
   */
  confirm(ref: DiskRef, options: VolumeOptions): Promise<void>;
  /**
   * Gives a live merge up whose block job has been cancelled, or was never
   * started, for instance for a snapshot. QEMU holds nothing of it back, or is gone.
   */
  abandon(ref: DiskRef, state: { readonly isRunning: boolean }, options: VolumeOptions): Promise<void>;
}

/** Copies of disks as files that stand on nothing, for the image cache. Named after the Image. */
export interface VolumeExports {
  ensure(
    want: { readonly imageUid: string; readonly disk: DiskRef; readonly snapshotUid: string },
    options: VolumeOptions,
  ): Promise<ExportOutcome>;
  /** No-op when there is none. */
  remove(imageUid: string, options: VolumeOptions): Promise<void>;
  /** UIDs of the Images of which anything is here. */
  list(options: VolumeOptions): Promise<readonly string[]>;
}

export interface VolumesSettings {
  /** All pools of this node. One is "local", whose path is the agent's state directory. */
  readonly pools: readonly StoragePool[];
  readonly run: RunCommand;
  readonly files: Files;
  readonly logger: RoomLogger;
  /** The image in this node's cache; undefined when it is not there. */
  readonly findImage: (imageUid: string) => Promise<CachedImage | undefined>;
  /** Default: the system's clock. */
  readonly now?: () => Date;
}

const MiB = 2 ** 20;

const statusOf = async (
  { name, shared, wipe, path }: StoragePool,
  files: Files,
): Promise<StoragePoolStatus> => {
  const { sizeBytes, availableBytes } = await files.space(path);
  return {
    name,
    shared,
    wipe,
    capacityMiB: Math.floor(sizeBytes / MiB),
    availableMiB: Math.floor(availableBytes / MiB),
  };
};

const openRoom = (settings: VolumesSettings, onChange: (uid: string) => void): Room => {
  const { pools, run, files, logger, findImage } = settings;
  const now = settings.now ?? (() => new Date());
  return {
    directories: createDirectories(pools, files),
    files,
    run,
    qemuImg: createQemuImg(run, files),
    jobs: new Jobs({ logger, now, onChange }),
    logger,
    findImage,
    oneAtATime: createOneAtATime(),
    readers: new Map(),
  };
};

/** Opens the room. Nothing is read or begun before a verb is called. */
export const createVolumes = (settings: VolumesSettings): Volumes => {
  const listeners = new Set<(uid: string) => void>();
  const room = openRoom(settings, (uid) => {
    for (const listener of listeners) listener(uid);
  });
  const merges = createMerges(room);
  return {
    disks: createVolumeDisks({ ...room, merges }),
    snapshots: createSnapshots(room),
    restores: createRestores(room),
    merges,
    exports: createExports(room),
    transfers: createTransfers(room),

    async pools() {
      const found: StoragePoolStatus[] = [];
      for (const pool of settings.pools) {
        if ((await settings.files.stat(pool.path))?.kind === "directory")
          found.push(await statusOf(pool, settings.files));
        else
          settings.logger.warn(
            { pool: pool.name, path: pool.path },
            "the directory of a storage pool is missing",
          );
      }
      return found;
    },

    async imagesInUse() {
      const inUse = new Set<string>();
      for (const ref of await room.directories.list())
        for (const uid of imagesNamedIn((await room.directories.readText(ref)) ?? "")) inUse.add(uid);
      return inUse;
    },

    onChange: (listener) => {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    close: () => room.jobs.close(),
  };
};
