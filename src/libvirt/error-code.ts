/**
 * The codes of LibvirtError that a caller may want to tell apart; libvirt has
 * about a hundred.
 * https://libvirt.org/html/libvirt-virterror.html#virErrorNumber
 */
export const ErrorCode = {
  INTERNAL_ERROR: 1,
  NO_SUPPORT: 3,
  NO_CONNECT: 5,
  INVALID_CONN: 6,
  INVALID_DOMAIN: 7,
  INVALID_ARG: 8,
  OPERATION_FAILED: 9,
  XML_ERROR: 27,
  DOM_EXIST: 28,
  OPERATION_DENIED: 29,
  SYSTEM_ERROR: 38,
  RPC: 39,
  NO_DOMAIN: 42,
  AUTH_FAILED: 45,
  /** The domain is in a state in which this cannot be done. */
  OPERATION_INVALID: 55,
  CONFIG_UNSUPPORTED: 67,
  /** Often "cannot acquire state change lock": another call holds the domain. */
  OPERATION_TIMEOUT: 68,
  /** The migration worked, but the target could not keep the definition. */
  MIGRATE_PERSIST_FAILED: 69,
  ARGUMENT_UNSUPPORTED: 74,
  OPERATION_ABORTED: 78,
  MIGRATE_UNSAFE: 81,
  /** Another block job on the same disk. */
  BLOCK_COPY_ACTIVE: 83,
  OPERATION_UNSUPPORTED: 84,
  AGENT_UNRESPONSIVE: 86,
  RESOURCE_BUSY: 87,
  ACCESS_DENIED: 88,
  XML_INVALID_SCHEMA: 92,
  /** migrateFinish has ended the incoming guest as it was told to: no failure, but there is no domain to reply with. */
  MIGRATE_FINISH_OK: 93,
  AUTH_UNAVAILABLE: 94,
  AGENT_UNSYNCED: 97,
  DEVICE_MISSING: 99,
} as const;
