import type { VolumeBus } from "../../../../src/api/virtual-machine-spec.ts";
import type { Domain, DomainCdrom, DomainDisk } from "../../../../src/node-agent/domains/types.ts";

/** A guest as the agent may want it. */
export const wantedDomain = (changes: Partial<Domain> = {}): Domain => ({
  vmUid: "4dea22b3-1d52-48f3-a516-782e98ab3fa0",
  namespace: "shop",
  name: "web-1",
  acceleration: "tcg",
  vcpus: 2,
  memoryMiB: 512,
  firmware: "BIOS",
  tpm: false,
  graphics: ["VNC"],
  rootDisk: {
    layers: [
      { path: "/var/lib/vireo/disks/4dea22b3-1d52-48f3-a516-782e98ab3fa0/root.qcow2", format: "qcow2" },
      { path: "/var/lib/vireo/images/cirros.qcow2", format: "qcow2", shared: true },
    ],
  },
  volumes: [],
  cdroms: [],
  seedPath: "/var/lib/vireo/seeds/4dea22b3-1d52-48f3-a516-782e98ab3fa0/seed.iso",
  interfaces: [{ network: "blue", tap: "vtap0123456789a", macAddress: "02:00:00:00:00:0b", mtu: 1450 }],
  ...changes,
});

const uid = (end: string): string => `5dea22b3-1d52-48f3-a516-782e98ab3f${end}`;

/** A volume whose UID ends with these two digits. */
export const volume = (end: string, bus: VolumeBus): DomainDisk => ({
  uid: uid(end),
  name: `data-${end}`,
  bus,
  layers: [{ path: `/var/lib/vireo/volumes/${uid(end)}/base.qcow2`, format: "qcow2" }],
});

export const cdrom = (end: string): DomainCdrom => ({
  uid: uid(end),
  name: `installer-${end}`,
  path: `/var/lib/vireo/images/${uid(end)}`,
});
