import type { CachedImageStatus } from "../../api/hypervisor.ts";
import type { DiskOptions, RootDisk, RootDiskOutcome } from "./types.ts";

/** Image cache and root disks of this node. All verbs are idempotent. */
export interface Disks {
  /**
   * Makes the root disk: image fetched and checked, overlay of the right size on it.
   * Never waits for a download: it says "fetching" and announces the change later.
   * A disk that exists is never made again. Rejects when the host itself fails.
   */
  ensureRootDisk(want: RootDisk, options: DiskOptions): Promise<RootDiskOutcome>;
  /** Deletes the disk of a machine, and what is half-made of it. No-op when there is none. */
  remove(vmUid: string, options: DiskOptions): Promise<void>;
  /** UIDs of the machines that have anything here, finished or not. */
  list(options: DiskOptions): Promise<readonly string[]>;
  /** The images that the node holds, fetches or has refused, for Hypervisor.status.images; ordered by UID. */
  images(): readonly CachedImageStatus[];
  /** Calls the listener with the UID of an image whose state changed. Returns how to stop that. */
  onImageChange(listener: (imageUid: string) => void): () => void;
  /**
   * Forgets what no machine needs: the least recently used images beyond the
   * limit of the cache, and downloads and refusals of images that are not in
   * use. An image that a disk on this node starts from is in use, whatever the set says.
   */
  evict(inUse: ReadonlySet<string>, options: DiskOptions): Promise<void>;
  /** Ends the downloads; what has come of them stays for the next agent. */
  close(): Promise<void>;
}
