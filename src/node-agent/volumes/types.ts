import type { ImageFormat, ImageRefusal } from "../../api/image.ts";
import type { WipePolicy } from "../../api/storage-pool.ts";

/** A directory of this node that its administrator has given a name. */
export interface StoragePool {
  /** What users call it. */
  readonly name: string;
  /** Absolute path of a directory that exists. It must be a root of `files`. */
  readonly path: string;
  /** Whether other nodes have the same files under the same pool name. */
  readonly shared: boolean;
  /** What is done to the content of a file before it goes. */
  readonly wipe: WipePolicy;
}

/** A machine's root disk, named after the machine, or a Volume's disk. */
export type DiskKind = "root" | "volume";

/** Which disk: it has a directory of its own in its pool. */
export interface DiskRef {
  readonly pool: string;
  readonly kind: DiskKind;
  /** UID of the VirtualMachine or of the Volume. */
  readonly uid: string;
}

/** An image in this node's cache, as the room of the images gives it out. */
export interface CachedImage {
  readonly uid: string;
  /** SHA-256 of the file that it came as; a disk on an image never gets another content under it. */
  readonly checksum: string;
  readonly path: string;
  readonly format: ImageFormat;
  readonly virtualSizeBytes: number;
}

/** What a disk starts as. */
export type DiskSource =
  | { readonly kind: "blank" }
  /** In the pool "local" an overlay on the cached image; elsewhere a copy that stands on nothing. */
  | { readonly kind: "image"; readonly image: CachedImage }
  /**
   * A copy of a disk of this node as a snapshot shows it. Only where both are in
   * "local" does the image under the source stay the copy's; otherwise it stands on nothing.
   */
  | { readonly kind: "snapshot"; readonly disk: DiskRef; readonly snapshotUid: string };

/** A disk as it is to be. */
export interface DesiredDisk {
  readonly ref: DiskRef;
  /** What the guest sees. Only used when the disk is made: see grow. */
  readonly sizeMiB: number;
  readonly source: DiskSource;
}

/** A file that QEMU may open, with the format that it must be opened with. */
export interface LayerFile {
  readonly path: string;
  readonly format: ImageFormat;
  /** Whether it is a cached image, which belongs to many disks: libvirt must not change its owner. */
  readonly isImage: boolean;
}

/** A disk that guests can use: the whole chain, so that nobody has to guess from files what is under them. */
export interface DiskChain {
  readonly ref: DiskRef;
  /** The qcow2 file that the guest writes. */
  readonly path: string;
  /** What lies under it, from the top down. Nobody writes these, except for a live commit. */
  readonly backing: readonly LayerFile[];
  readonly virtualSizeBytes: number;
}

/** Reasons that pass: ask again after the delay. */
export type VolumeFailure = "NoSpace" | "Failed";

/** Work that goes on, or did not work this time. */
export type Unfinished =
  /** Under way; `onChange` tells when to ask again. Percent from 0 to 100. */
  | { readonly kind: "working"; readonly progressPercent: number }
  | {
      readonly kind: "failed";
      readonly reason: VolumeFailure;
      readonly message: string;
      /** In milliseconds. */
      readonly retryAfterMs: number;
    };

/** What cannot be had as it is asked for; only another wish, or another source, helps. */
export type DiskRefusal = Extract<ImageRefusal, "TooLarge" | "ChecksumMismatch" | "NotFound">;

export type DiskOutcome =
  | { readonly kind: "ready"; readonly chain: DiskChain }
  | { readonly kind: "refused"; readonly reason: DiskRefusal; readonly message: string }
  | Unfinished;

export type RemovalOutcome =
  /** Nothing of it is left. */
  | { readonly kind: "gone" }
  /** The guest's layer is gone; these snapshots keep the others. */
  | { readonly kind: "kept"; readonly snapshotUids: readonly string[] }
  | Unfinished;

/** Whose data they were, of a Volume that is gone. */
export interface FormerVolume {
  readonly namespace: string;
  readonly name: string;
}

export type AdoptionOutcome =
  | { readonly kind: "adopted" }
  | { readonly kind: "refused"; readonly message: string };

/** A snapshot of one disk. */
export interface DiskSnapshot {
  readonly uid: string;
  /** Size of the disk at that moment. */
  readonly virtualSizeBytes: number;
  /** Bytes of the layer that it froze. */
  readonly usedBytes: number;
  /** Bytes of the guest's memory that is kept with it; 0 without. */
  readonly memoryBytes: number;
}

/** What was begun with a disk and is not over. A fresh agent finishes or undoes it. */
export type PendingOperation =
  | { readonly kind: "snapshot"; readonly snapshotUid: string }
  | { readonly kind: "restore"; readonly restoreUid: string; readonly state: RestoreState }
  | { readonly kind: "merge" };

/** What is on the node for one UID. */
export interface FoundDisk {
  readonly ref: DiskRef;
  /**
   * unfinished: it was being made. ready: it has a layer that a guest may write.
   * kept: only snapshots, or Retain, need it, or its removal is not over.
   * damaged: its record cannot be read; nothing of it is ever touched.
   */
  readonly state: "unfinished" | "ready" | "kept" | "damaged";
  readonly snapshots: readonly DiskSnapshot[];
  readonly pending?: PendingOperation;
  readonly retained?: FormerVolume;
  /** Bytes on disk of all its files. */
  readonly usedBytes: number;
}

/** One disk of a snapshot that is being taken. */
export interface FreezingDisk {
  readonly ref: DiskRef;
  /** What the guest has written up to now. */
  readonly path: string;
  /** The empty overlay that exists and that the guest is to write from now on. */
  readonly overlayPath: string;
}

export interface PreparedSnapshot {
  readonly disks: readonly FreezingDisk[];
  /** Where libvirt is to put the guest's memory; present when it was asked for. */
  readonly memoryPath?: string;
}

/**
 * none: nothing of it is here. prepared: overlays exist and no disk uses them.
 * committing: some disks do; commit must be called. committed: all do.
 */
export type SnapshotState = "none" | "prepared" | "committing" | "committed";

/**
 * prepared: new heads exist or are being made, and the disks are as they were.
 * switched: the machine is as in the snapshot, and can still go back; switch may
 * have to be called again. undoing, finishing: call undo, or finish, again.
 */
export type RestoreState = "prepared" | "switched" | "undoing" | "finishing";

/** One step that libvirt takes while the guest runs. Both bases are to be given explicitly. */
export type LiveMerge =
  /** virDomainBlockRebase: the disk takes over what lies between it and the base; without a base all there is. */
  | { readonly kind: "pull"; readonly diskPath: string; readonly basePath?: string }
  /** virDomainBlockCommit from top down into base. Never call it without this base. */
  | { readonly kind: "commit"; readonly topPath: string; readonly basePath: string };

export type MergeOutcome =
  /** Every layer that is left is needed. */
  | { readonly kind: "clean" }
  /** Nothing needed the disk any more, and nothing of it is left. */
  | { readonly kind: "gone" }
  /** Start this block job unless it runs, and `confirm` when it has ended; ask again then. */
  | { readonly kind: "live"; readonly merge: LiveMerge }
  /** Something else goes first: a snapshot, a restore or a copy. */
  | { readonly kind: "waiting"; readonly message: string }
  | Unfinished;

export type ExportOutcome =
  | { readonly kind: "ready"; readonly file: ExportedFile }
  | { readonly kind: "refused"; readonly reason: DiskRefusal; readonly message: string }
  | Unfinished;

/** A qcow2 file that stands on nothing, compressed with Zstandard. */
export interface ExportedFile {
  readonly imageUid: string;
  readonly path: string;
  /** "sha256:…" of the file. */
  readonly checksum: string;
  readonly sizeBytes: number;
  readonly virtualSizeBytes: number;
}

export interface VolumeOptions {
  /** Ends the waiting for what the verb does. Copies and merges go on: they belong to the node, not to one caller. */
  readonly signal: AbortSignal;
}

/** Where the room tells what it does. An Error goes into the field `err`. */
export interface RoomLogger {
  readonly info: (fields: Readonly<Record<string, unknown>>, message: string) => void;
  readonly warn: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}
