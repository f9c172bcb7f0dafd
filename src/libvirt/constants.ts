/**
 * libvirt's numbers under libvirt's names, less the common prefix: what C
 * calls VIR_DOMAIN_SHUTOFF_CRASHED is DomainShutoffReason.CRASHED. A test
 * compares them with libvirt's headers.
 */

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainState */
export const DomainState = {
  NOSTATE: 0,
  RUNNING: 1,
  /** Blocked on a resource. Xen only. */
  BLOCKED: 2,
  PAUSED: 3,
  /** The guest is powering off. */
  SHUTDOWN: 4,
  SHUTOFF: 5,
  CRASHED: 6,
  PMSUSPENDED: 7,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainRunningReason */
export const DomainRunningReason = {
  UNKNOWN: 0,
  BOOTED: 1,
  MIGRATED: 2,
  RESTORED: 3,
  FROM_SNAPSHOT: 4,
  UNPAUSED: 5,
  MIGRATION_CANCELED: 6,
  SAVE_CANCELED: 7,
  WAKEUP: 8,
  CRASHED: 9,
  POSTCOPY: 10,
  POSTCOPY_FAILED: 11,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainPausedReason */
export const DomainPausedReason = {
  UNKNOWN: 0,
  USER: 1,
  MIGRATION: 2,
  SAVE: 3,
  DUMP: 4,
  IOERROR: 5,
  WATCHDOG: 6,
  FROM_SNAPSHOT: 7,
  SHUTTING_DOWN: 8,
  SNAPSHOT: 9,
  CRASHED: 10,
  STARTING_UP: 11,
  POSTCOPY: 12,
  POSTCOPY_FAILED: 13,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainShutdownReason */
export const DomainShutdownReason = {
  UNKNOWN: 0,
  USER: 1,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainShutoffReason */
export const DomainShutoffReason = {
  UNKNOWN: 0,
  /** The guest powered itself off, asked or not. */
  SHUTDOWN: 1,
  DESTROYED: 2,
  CRASHED: 3,
  MIGRATED: 4,
  SAVED: 5,
  /** It did not start. */
  FAILED: 6,
  FROM_SNAPSHOT: 7,
  /** The daemon found it gone when it started. */
  DAEMON: 8,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainCrashedReason */
export const DomainCrashedReason = {
  UNKNOWN: 0,
  PANICKED: 1,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-host.html#virConnectFlags */
export const ConnectFlags = {
  RO: 1,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectListAllDomainsFlags */
export const ListDomainsFlags = {
  ACTIVE: 1,
  INACTIVE: 2,
  PERSISTENT: 4,
  TRANSIENT: 8,
  RUNNING: 16,
  PAUSED: 32,
  SHUTOFF: 64,
  OTHER: 128,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainDefineFlags */
export const DomainDefineFlags = {
  VALIDATE: 1,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainCreateFlags */
export const DomainCreateFlags = {
  PAUSED: 1,
  AUTODESTROY: 2,
  BYPASS_CACHE: 4,
  FORCE_BOOT: 8,
  VALIDATE: 16,
  RESET_NVRAM: 32,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainShutdownFlagValues */
export const DomainShutdownFlags = {
  DEFAULT: 0,
  ACPI_POWER_BTN: 1,
  GUEST_AGENT: 2,
  INITCTL: 4,
  SIGNAL: 8,
  PARAVIRT: 16,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainRebootFlagValues */
export const DomainRebootFlags = {
  DEFAULT: 0,
  ACPI_POWER_BTN: 1,
  GUEST_AGENT: 2,
  INITCTL: 4,
  SIGNAL: 8,
  PARAVIRT: 16,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainDestroyFlagsValues */
export const DomainDestroyFlags = {
  DEFAULT: 0,
  GRACEFUL: 1,
  REMOVE_LOGS: 2,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainUndefineFlagsValues */
export const DomainUndefineFlags = {
  MANAGED_SAVE: 1,
  SNAPSHOTS_METADATA: 2,
  NVRAM: 4,
  KEEP_NVRAM: 8,
  CHECKPOINTS_METADATA: 16,
  TPM: 32,
  KEEP_TPM: 64,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainXMLFlags */
export const DomainXmlFlags = {
  SECURE: 1,
  INACTIVE: 2,
  UPDATE_CPU: 4,
  MIGRATABLE: 8,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainStatsTypes */
export const DomainStatsTypes = {
  STATE: 1,
  CPU_TOTAL: 2,
  BALLOON: 4,
  VCPU: 8,
  INTERFACE: 16,
  BLOCK: 32,
  PERF: 64,
  IOTHREAD: 128,
  MEMORY: 256,
  DIRTYRATE: 512,
  VM: 1024,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectGetAllDomainStatsFlags */
export const GetAllDomainStatsFlags = {
  ACTIVE: 1,
  INACTIVE: 2,
  /** Give less rather than wait for a domain that is busy. */
  NOWAIT: 0x2000_0000,
  BACKING: 0x4000_0000,
  ENFORCE_STATS: 0x8000_0000,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMemoryStatTags */
export const DomainMemoryStatTag = {
  SWAP_IN: 0,
  SWAP_OUT: 1,
  MAJOR_FAULT: 2,
  MINOR_FAULT: 3,
  UNUSED: 4,
  AVAILABLE: 5,
  ACTUAL_BALLOON: 6,
  RSS: 7,
  USABLE: 8,
  LAST_UPDATE: 9,
  DISK_CACHES: 10,
  HUGETLB_PGALLOC: 11,
  HUGETLB_PGFAIL: 12,
} as const;
