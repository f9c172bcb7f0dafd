import { z } from "zod";
import { mebibytes } from "./fields.ts";

/**
 * A storage pool is a directory of a node that its administrator has given a
 * name (--storage-pool). Users name pools and never see a path. The pool
 * "local" is on every node.
 */

export const LOCAL_POOL = "local";

export const storagePoolName = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);

/** What is done to the content of a disk when it is deleted. */
export const wipePolicies = ["None", "Zero", "Discard"] as const;
export type WipePolicy = (typeof wipePolicies)[number];

/** A pool as a node reports it. */
export const storagePool = z.object({
  name: storagePoolName.describe("Name of the pool."),
  shared: z
    .boolean()
    .describe(
      "Whether all nodes that have a pool of this name see the same files, as with NFS: a machine whose disks are all in shared pools can be started on another node when its own is lost.",
    ),
  wipe: z
    .enum(wipePolicies)
    .describe(
      "What happens to the content of a deleted disk. None: its file is removed; new disks are new files and never show old content. Zero: it is overwritten first. Discard: its blocks are given back to the device first.",
    ),
  capacityMiB: mebibytes.describe("Size of the file system in MiB."),
  availableMiB: mebibytes.describe("What is free of it in MiB."),
});
export type StoragePoolStatus = z.output<typeof storagePool>;
