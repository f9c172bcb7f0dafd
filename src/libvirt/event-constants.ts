/**
 * What events tell, under libvirt's names less the common prefix. The meaning
 * of a lifecycle event's detail depends on its event.
 */

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventType */
export const DomainEventType = {
  DEFINED: 0,
  UNDEFINED: 1,
  STARTED: 2,
  SUSPENDED: 3,
  RESUMED: 4,
  STOPPED: 5,
  SHUTDOWN: 6,
  PMSUSPENDED: 7,
  CRASHED: 8,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventDefinedDetailType */
export const DomainEventDefinedDetail = { ADDED: 0, UPDATED: 1, RENAMED: 2, FROM_SNAPSHOT: 3 } as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventUndefinedDetailType */
export const DomainEventUndefinedDetail = { REMOVED: 0, RENAMED: 1 } as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventStartedDetailType */
export const DomainEventStartedDetail = {
  BOOTED: 0,
  MIGRATED: 1,
  RESTORED: 2,
  FROM_SNAPSHOT: 3,
  WAKEUP: 4,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventSuspendedDetailType */
export const DomainEventSuspendedDetail = {
  PAUSED: 0,
  MIGRATED: 1,
  IOERROR: 2,
  WATCHDOG: 3,
  RESTORED: 4,
  FROM_SNAPSHOT: 5,
  API_ERROR: 6,
  POSTCOPY: 7,
  POSTCOPY_FAILED: 8,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventResumedDetailType */
export const DomainEventResumedDetail = {
  UNPAUSED: 0,
  MIGRATED: 1,
  FROM_SNAPSHOT: 2,
  POSTCOPY: 3,
  POSTCOPY_FAILED: 4,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventStoppedDetailType */
export const DomainEventStoppedDetail = {
  SHUTDOWN: 0,
  DESTROYED: 1,
  CRASHED: 2,
  MIGRATED: 3,
  SAVED: 4,
  FAILED: 5,
  FROM_SNAPSHOT: 6,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventShutdownDetailType */
export const DomainEventShutdownDetail = {
  FINISHED: 0,
  /** The guest did it by itself. */
  GUEST: 1,
  /** The host asked or signalled. */
  HOST: 2,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventCrashedDetailType */
export const DomainEventCrashedDetail = { PANICKED: 0, CRASHLOADED: 1 } as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectDomainEventAgentLifecycleState */
export const AgentLifecycleState = { CONNECTED: 1, DISCONNECTED: 2 } as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectDomainEventAgentLifecycleReason */
export const AgentLifecycleReason = { UNKNOWN: 0, DOMAIN_STARTED: 1, CHANNEL: 2 } as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectDomainEventBlockJobStatus */
export const BlockJobStatus = {
  COMPLETED: 0,
  FAILED: 1,
  CANCELED: 2,
  /** Everything is copied once, and what the guest writes is written twice: the job waits for its end. */
  READY: 3,
} as const;
