import { DomainDeviceModifyFlags, DomainVcpuFlags } from "../../libvirt/index.ts";
import { element, serialize, type XmlElement } from "./domain-xml/xml.ts";
import type { DomainDriver } from "./driver.ts";
import { virtioMemOf } from "./hardware.ts";
import type { LiveSize } from "./live.ts";
import { achieve, type LiveContext } from "./running-guest.ts";
import type { ObservedMemory } from "./types.ts";

/** What can be asked for, nearest to what is wanted, in MiB. */
const withinLimits = (memory: ObservedMemory, wantedMiB: number): number => {
  const growth = Math.min(Math.max(wantedMiB, memory.initialMiB), memory.maximumMiB) - memory.initialMiB;
  return memory.initialMiB + growth - (growth % memory.blockMiB);
};

/** The device as it is, with another size asked for. libvirt refuses any other difference. */
const withRequested = (device: XmlElement, requestedMiB: number): XmlElement => ({
  ...device,
  children: device.children.map((child) =>
    typeof child !== "string" && child.name === "target"
      ? { ...child, children: child.children.map((part) => requestedIn(part, requestedMiB)) }
      : child,
  ),
});

const requestedIn = (part: XmlElement | string, requestedMiB: number): XmlElement | string =>
  typeof part !== "string" && part.name === "requested"
    ? element("requested", { unit: "MiB" }, requestedMiB)
    : part;

export const createLiveSize = (context: LiveContext, driver: DomainDriver): LiveSize => {
  const { libvirt, running } = context;
  return {
    setVcpus: async (vmUid, count, options) => {
      const guest = await running(vmUid, options);
      const { current, maximum } = guest.hardware.vcpus;
      const wanted = Math.min(count, maximum);
      if (wanted <= current) return current;
      await achieve(
        context,
        guest,
        {
          act: () => libvirt.setVcpus(guest.ref, wanted, { flags: DomainVcpuFlags.LIVE, ...options }),
          achieved: ({ hardware }) => hardware.vcpus.current >= wanted,
        },
        options,
      );
      return wanted;
    },
    setMemory: async (vmUid, memoryMiB, options) => {
      const guest = await running(vmUid, options);
      const { memory } = guest.hardware;
      const wanted = withinLimits(memory, memoryMiB);
      const device = virtioMemOf(guest.xml);
      if (device === undefined || wanted === memory.requestedMiB) return memory.requestedMiB;
      const xml = serialize(withRequested(device, wanted - memory.initialMiB));
      await achieve(
        context,
        guest,
        {
          act: () =>
            libvirt.updateDevice(guest.ref, xml, { flags: DomainDeviceModifyFlags.LIVE, ...options }),
          achieved: ({ hardware }) => hardware.memory.requestedMiB === wanted,
        },
        options,
      );
      return wanted;
    },
    suspend: (vmUid, options) => driver.suspend(vmUid, options),
    resume: (vmUid, options) => driver.resume(vmUid, options),
  };
};
