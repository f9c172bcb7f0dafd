import type { ImageFormat, ImageRefusal } from "../../api/image.ts";
import type { AllocatedImage } from "../../api/virtual-machine.ts";

export type { AllocatedImage };

/** A file that QEMU may open, with the format that it must be opened with. */
export interface BackingImage {
  readonly path: string;
  readonly format: ImageFormat;
}

/** An image that is in this node's cache, checked. */
export interface CachedImage extends BackingImage {
  readonly uid: string;
  /** SHA-256 of the file that it came as. */
  readonly checksum: string;
  readonly virtualSizeBytes: number;
}

/** A file that was made on this node and is to become an image. */
export interface ImageFile {
  readonly imageUid: string;
  /** A qcow2 file on the file system of the state directory. */
  readonly path: string;
  /** "sha256:…" of the file. */
  readonly checksum: string;
  readonly virtualSizeBytes: number;
}

/** Reasons that pass: the same image is tried again. */
export type FetchFailure = "FetchFailed" | "NoSpace";

/** Where an image stands that is not in the cache. */
export type ImageOutcome =
  /** It is on its way; `onImageChange` tells when to ask again. The message stays the same meanwhile. */
  | { readonly kind: "fetching"; readonly message: string }
  /** It cannot be used; only another image helps. */
  | { readonly kind: "refused"; readonly reason: ImageRefusal; readonly message: string }
  /** It did not work this time; ask again after the delay, in milliseconds. */
  | {
      readonly kind: "failed";
      readonly reason: FetchFailure;
      readonly message: string;
      readonly retryAfterMs: number;
    };

export interface DiskOptions {
  /** Ends the waiting for what the verb does. Downloads go on: they belong to the node, not to one caller. */
  readonly signal: AbortSignal;
}

/** Bounds on what images may cost a node. */
export interface DiskLimits {
  /** Largest disk that a guest may see in an image, in bytes. Default 1 TiB. */
  readonly maxVirtualSizeBytes: number;
  /** Largest image file, as served and after decompression, in bytes. Default 64 GiB. */
  readonly maxFileBytes: number;
  /** What `evict` lets the cache keep, in bytes on disk. Default 50 GiB. Images in use stay, whatever their size. */
  readonly cacheBytes: number;
  /** Space in bytes that fetching an image leaves free, so that running guests can go on writing. Default 1 GiB. */
  readonly reservedBytes: number;
  /** A source that sends nothing for so long, in milliseconds, is given up for now. Default 30 000. */
  readonly stallMs: number;
  /** A download is made durable, and can be resumed from, each time so many bytes have come. Default 32 MiB. */
  readonly checkpointBytes: number;
  /** HTTP redirects that are followed. Default 5. */
  readonly maxRedirects: number;
}

/** What became of a fetch, for metrics. */
export type FetchResult = "Ready" | ImageRefusal | FetchFailure;

/** Counters that the room feeds. */
export interface DiskMetrics {
  /** Bytes that came from a source. */
  readonly fetchedBytes: (count: number) => void;
  /** A fetch ended. */
  readonly fetchFinished: (result: FetchResult) => void;
}

/** Where the room tells what it does. An Error goes into the field `err`. */
export interface RoomLogger {
  readonly info: (fields: Readonly<Record<string, unknown>>, message: string) => void;
  readonly warn: (fields: Readonly<Record<string, unknown>>, message: string) => void;
  readonly error: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}
