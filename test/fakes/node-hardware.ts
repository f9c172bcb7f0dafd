import type { ObservedHardware } from "../../src/node-agent/domains/index.ts";
import type { NodeRooms } from "../../src/node-agent/rooms.ts";

/** What a guest has right after it was switched on. */
export const hardwareOf = (want: Parameters<NodeRooms["domains"]["start"]>[0]): ObservedHardware => ({
  disks: [
    {
      kind: "disk",
      uid: want.vmUid,
      bus: "VirtIO",
      target: "vda",
      layers: want.rootDisk.layers.map(({ path }) => path),
    },
    ...want.volumes.map(({ uid, bus, layers }) => ({
      kind: "disk" as const,
      uid,
      bus,
      target: uid,
      layers: layers.map(({ path }) => path),
    })),
    ...want.cdroms.map(({ uid, path }) => ({
      kind: "cdrom" as const,
      uid,
      bus: "SCSI" as const,
      target: uid,
      layers: [path],
    })),
  ],
  interfaces: want.interfaces.map(({ tap, macAddress }) => ({ tap, macAddress })),
  vcpus: { current: want.vcpus, maximum: want.maxVcpus ?? want.vcpus },
  memory: {
    initialMiB: want.memoryMiB,
    currentMiB: want.memoryMiB,
    requestedMiB: want.memoryMiB,
    maximumMiB: want.maxMemoryMiB ?? want.memoryMiB,
    blockMiB: 2,
  },
  settings: undefined,
});
