/**
 * libvirt's numbers for what takes its time with a domain: block jobs,
 * snapshots, save images, migration. Under libvirt's names less the common prefix.
 */

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockRebaseFlags */
export const DomainBlockRebaseFlags = {
  SHALLOW: 1,
  REUSE_EXT: 2,
  COPY_RAW: 4,
  COPY: 8,
  /** Keeps relative names of backing files. */
  RELATIVE: 16,
  COPY_DEV: 32,
  /** The bandwidth is in bytes per second, not in MiB per second. */
  BANDWIDTH_BYTES: 64,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockPullFlags */
export const DomainBlockPullFlags = {
  BANDWIDTH_BYTES: 64,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockCommitFlags */
export const DomainBlockCommitFlags = {
  SHALLOW: 1,
  /** Deletes the files that are then no longer needed. QEMU's driver does not know it. */
  DELETE: 2,
  /** The top is the image that the guest writes: it ends by abortBlockJob with PIVOT. */
  ACTIVE: 4,
  RELATIVE: 8,
  BANDWIDTH_BYTES: 16,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockJobAbortFlags */
export const DomainBlockJobAbortFlags = {
  /** Returns at once; the event tells the end. */
  ASYNC: 1,
  /** Ends a job that is ready by going over to its result. */
  PIVOT: 2,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockJobInfoFlags */
export const DomainBlockJobInfoFlags = {
  BANDWIDTH_BYTES: 1,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockJobType */
export const DomainBlockJobType = {
  UNKNOWN: 0,
  /** A rebase as well. */
  PULL: 1,
  COPY: 2,
  COMMIT: 3,
  ACTIVE_COMMIT: 4,
  BACKUP: 5,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain-snapshot.html#virDomainSnapshotCreateFlags */
export const DomainSnapshotCreateFlags = {
  REDEFINE: 1,
  CURRENT: 2,
  /** libvirt forgets the snapshot as soon as it is made. */
  NO_METADATA: 4,
  HALT: 8,
  /** Without the guest's memory. */
  DISK_ONLY: 16,
  /** The files of the snapshot are there already, made as they have to be. */
  REUSE_EXT: 32,
  /** The guest agent freezes the guest's file systems meanwhile. Only with DISK_ONLY. */
  QUIESCE: 64,
  /** All disks or none. */
  ATOMIC: 128,
  /** The guest runs on while its memory is written. */
  LIVE: 256,
  VALIDATE: 512,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSaveRestoreFlags */
export const DomainSaveRestoreFlags = {
  /** Past the host's file system cache. */
  BYPASS_CACHE: 1,
  /** The restored guest runs, whatever it did when it was saved. */
  RUNNING: 2,
  /** The restored guest is paused, whatever it did when it was saved. */
  PAUSED: 4,
  RESET_NVRAM: 8,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMigrateFlags */
export const DomainMigrateFlags = {
  LIVE: 1,
  PEER2PEER: 2,
  TUNNELLED: 4,
  /** The target keeps the definition. */
  PERSIST_DEST: 8,
  /** The source forgets the definition. */
  UNDEFINE_SOURCE: 16,
  /** The guest is not resumed at the target. */
  PAUSED: 32,
  /** Copies the disks as a whole. */
  NON_SHARED_DISK: 64,
  /** Copies what the disks have above their backing files. */
  NON_SHARED_INC: 128,
  /** Nothing else may change the domain from begin to confirm. */
  CHANGE_PROTECTION: 256,
  UNSAFE: 512,
  OFFLINE: 1024,
  COMPRESSED: 2048,
  ABORT_ON_ERROR: 4096,
  /** Slows the guest down when it dirties its memory faster than it is copied. */
  AUTO_CONVERGE: 8192,
  RDMA_PIN_ALL: 16_384,
  POSTCOPY: 32_768,
  TLS: 65_536,
  PARALLEL: 131_072,
  NON_SHARED_SYNCHRONOUS_WRITES: 262_144,
  POSTCOPY_RESUME: 524_288,
  ZEROCOPY: 1_048_576,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainJobType */
export const DomainJobType = {
  NONE: 0,
  BOUNDED: 1,
  UNBOUNDED: 2,
  COMPLETED: 3,
  FAILED: 4,
  CANCELLED: 5,
} as const;

/**
 * What a job does, in the field "operation" of its statistics.
 * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainJobOperation
 */
export const DomainJobOperation = {
  UNKNOWN: 0,
  START: 1,
  SAVE: 2,
  RESTORE: 3,
  MIGRATION_IN: 4,
  MIGRATION_OUT: 5,
  SNAPSHOT: 6,
  SNAPSHOT_REVERT: 7,
  DUMP: 8,
  BACKUP: 9,
  SNAPSHOT_DELETE: 10,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobStatsFlags */
export const DomainJobStatsFlags = {
  /** Of the last job that has ended, instead of the one that runs. Read once: libvirt then forgets them. */
  COMPLETED: 1,
  /** With COMPLETED: libvirt does not forget them. */
  KEEP_COMPLETED: 2,
} as const;
