import { DomainDeviceModifyFlags, ErrorCode, LibvirtError } from "../../libvirt/index.ts";
import type { VolumeBus } from "../../api/virtual-machine-spec.ts";
import { diskAlias } from "./domain-xml/aliases.ts";
import { cdromElement, diskElement, freeTarget } from "./domain-xml/disks.ts";
import { serialize, type XmlElement } from "./domain-xml/xml.ts";
import { freePortsIn, targetsIn } from "./hardware.ts";
import type { LiveDevices } from "./live.ts";
import { achieve, findDisk, type LiveContext, requireDisk, type RunningGuest } from "./running-guest.ts";
import type { AttachOutcome, DiskKind } from "./types.ts";

const BYTES_PER_MIB = 1_048_576n;
const LIVE = { flags: DomainDeviceModifyFlags.LIVE };

/** A name for one more disk on that bus; undefined when there is no room for it before a restart. */
const roomOn = (bus: VolumeBus, { xml }: RunningGuest): string | undefined => {
  if (bus === "VirtIO" && freePortsIn(xml) === 0) return undefined;
  return freeTarget(bus, new Set(targetsIn(xml)));
};

/** QEMU says so when it is asked again too soon. */
const isBeingUnplugged = (error: LibvirtError): boolean =>
  /already in the process of unplug/.test(error.message);

export const createLiveDevices = (context: LiveContext): LiveDevices => {
  const { libvirt, running } = context;

  const attach = async (
    vmUid: string,
    device: { readonly kind: DiskKind; readonly uid: string; readonly bus: VolumeBus },
    describe: (target: string) => XmlElement,
    options: { readonly signal: AbortSignal },
  ): Promise<AttachOutcome> => {
    const guest = await running(vmUid, options);
    if (findDisk(guest, device) !== undefined) return "attached";
    const target = roomOn(device.bus, guest);
    if (target === undefined) return "no-free-slot";
    await achieve(
      context,
      guest,
      {
        act: () => libvirt.attachDevice(guest.ref, serialize(describe(target)), { ...LIVE, ...options }),
        achieved: (after) => findDisk(after, device) !== undefined,
      },
      options,
    );
    return "attached";
  };

  return {
    attachDisk: (vmUid, disk, options) =>
      attach(vmUid, { kind: "disk", ...disk }, (target) => diskElement(disk, { target }), options),
    attachCdrom: (vmUid, cdrom, options) =>
      attach(
        vmUid,
        { kind: "cdrom", bus: "SCSI", uid: cdrom.uid },
        (target) => cdromElement(cdrom, { target }),
        options,
      ),
    detach: async (vmUid, device, options) => {
      const guest = await running(vmUid, options);
      if (findDisk(guest, device) === undefined) return "gone";
      const alias = diskAlias(device.kind, device.uid);
      try {
        await libvirt.detachDeviceAlias(guest.ref, alias, { ...LIVE, ...options });
        return "asked";
      } catch (error) {
        if (!(error instanceof LibvirtError)) throw error;
        if (isBeingUnplugged(error)) return "asked";
        if (error.code === ErrorCode.DEVICE_MISSING) return "gone";
        if (findDisk(await running(vmUid, options), device) === undefined) return "gone";
        throw error;
      }
    },
    resizeDisk: async (vmUid, { uid, sizeMiB }, options) => {
      const guest = await running(vmUid, options);
      const { target } = requireDisk(guest, uid);
      const wantedBytes = BigInt(sizeMiB) * BYTES_PER_MIB;
      const { capacityBytes } = await libvirt.blockInfo(guest.ref, target, options);
      if (capacityBytes < wantedBytes) await libvirt.blockResize(guest.ref, target, wantedBytes, options);
    },
    announceSizes: async (vmUid, options) => {
      const { ref, hardware } = await running(vmUid, options);
      for (const { target } of hardware.disks.filter(({ kind }) => kind === "disk")) {
        const { capacityBytes } = await libvirt.blockInfo(ref, target, options);
        // QEMU tells the guest of every resize, also of one that changes nothing.
        await libvirt.blockResize(ref, target, capacityBytes, options);
      }
    },
  };
};
