/** libvirt's numbers for changing a domain while it runs, under libvirt's names less the common prefix. */

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainDeviceModifyFlags */
export const DomainDeviceModifyFlags = {
  /** The running domain when it runs, else the definition. */
  CURRENT: 0,
  LIVE: 1,
  CONFIG: 2,
  /** Also when the guest holds on to it, for example to the medium of a CD drive. */
  FORCE: 4,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainVcpuFlags */
export const DomainVcpuFlags = {
  CURRENT: 0,
  LIVE: 1,
  CONFIG: 2,
  /** The most that it may have, not how many it has. */
  MAXIMUM: 4,
  /** Told to the guest by its agent; the virtual hardware stays. */
  GUEST: 8,
  /** Those that are added can be taken away again. */
  HOTPLUGGABLE: 16,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMemoryModFlags */
export const DomainMemoryModFlags = {
  CURRENT: 0,
  LIVE: 1,
  CONFIG: 2,
  /** The most that it may have, not what it has. */
  MAXIMUM: 4,
} as const;

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockResizeFlags */
export const DomainBlockResizeFlags = {
  /** The size is in bytes, not in KiB. */
  BYTES: 1,
} as const;
