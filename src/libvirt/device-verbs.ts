import type { CallOnLane } from "./call-on-lane.ts";
import { DomainBlockResizeFlags } from "./device-constants.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions, DomainRef, FlaggedOptions } from "./types.ts";

/**
 * Changing a domain's devices, vCPUs and memory. Without flags, libvirt changes
 * the running domain when it runs, and else its definition.
 */
export interface DeviceVerbs {
  /**
   * Adds a device, given as XML. The guest may take its time to use it.
   * `flags`: DomainDeviceModifyFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainAttachDeviceFlags
   */
  attachDevice(domain: DomainRef, xml: string, options?: FlaggedOptions): Promise<void>;
  /**
   * Asks the guest to let go of the device that matches the XML. It is gone when
   * the event `deviceRemoved` says so, or when the domain's XML no longer has
   * it: libvirt waits 5 s for the guest and then returns all the same, and a
   * guest that does not listen never lets go. Rejects with DEVICE_MISSING when
   * there is no such device. `flags`: DomainDeviceModifyFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainDetachDeviceFlags
   */
  detachDevice(domain: DomainRef, xml: string, options?: FlaggedOptions): Promise<void>;
  /**
   * The same for the device of that alias, without waiting for the guest at all.
   * Rejects with INTERNAL_ERROR (libvirt 9.0) when there is no such device.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainDetachDeviceAlias
   */
  detachDeviceAlias(domain: DomainRef, alias: string, options?: FlaggedOptions): Promise<void>;
  /**
   * Changes what may change of a device: the medium of a drive, the link state
   * of a network interface, the requested size of a virtio-mem device.
   * `flags`: DomainDeviceModifyFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainUpdateDeviceFlags
   */
  updateDevice(domain: DomainRef, xml: string, options?: FlaggedOptions): Promise<void>;
  /**
   * How many vCPUs the domain has. `flags`: DomainVcpuFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetVcpusFlags
   */
  vcpus(domain: DomainRef, options?: FlaggedOptions): Promise<number>;
  /**
   * Gives the domain that many vCPUs. `flags`: DomainVcpuFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSetVcpusFlags
   */
  setVcpus(domain: DomainRef, count: number, options?: FlaggedOptions): Promise<void>;
  /**
   * Sets the balloon's target (KiB), or with MAXIMUM the most memory of the
   * definition. `flags`: DomainMemoryModFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSetMemoryFlags
   */
  setMemory(domain: DomainRef, kib: bigint, options?: FlaggedOptions): Promise<void>;
  /**
   * Gives a disk of the running domain another size in bytes. `disk`: its target
   * (vda) or its path. The guest is told; what it does with that is its own.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockResize
   */
  blockResize(domain: DomainRef, disk: string, bytes: bigint, options?: CallOptions): Promise<void>;
}

export const deviceVerbs = (call: CallOnLane): DeviceVerbs => ({
  attachDevice: (dom, xml, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainAttachDeviceFlags, { dom, xml, flags }, options),
  detachDevice: (dom, xml, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainDetachDeviceFlags, { dom, xml, flags }, options),
  detachDeviceAlias: (dom, alias, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainDetachDeviceAlias, { dom, alias, flags }, options),
  updateDevice: (dom, xml, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainUpdateDeviceFlags, { dom, xml, flags }, options),
  vcpus: async (dom, { flags = 0, ...options } = {}) =>
    (await call("long", procedures.domainGetVcpusFlags, { dom, flags }, options)).num,
  setVcpus: (dom, nvcpus, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainSetVcpusFlags, { dom, nvcpus, flags }, options),
  setMemory: (dom, memory, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainSetMemoryFlags, { dom, memory, flags }, options),
  blockResize: (dom, disk, size, options) => {
    const args = { dom, disk, size, flags: DomainBlockResizeFlags.BYTES };
    return call("long", procedures.domainBlockResize, args, options);
  },
});
