import { readableText } from "./domain-xml/xml.ts";
import type { Domain, ObservedHardware, PendingChange } from "./types.ts";

/**
 * What of a machine's spec only a start of the guest changes.
 *
 * It is written down, as words, where the guest is described, since not all of
 * it can be read back from a running domain: libvirt replaces host-model by
 * what it has made of it.
 */

const topologyText = (topology: NonNullable<Domain["cpu"]>["topology"]): string =>
  topology === undefined
    ? "default"
    : `${topology.sockets} sockets, ${topology.cores} cores, ${topology.threads} threads`;

type Setting = readonly [path: string, value: string];

const guestSettings = (want: Domain): readonly Setting[] => [
  ["cpu.model", readableText(want.cpu?.model ?? "default")],
  ["cpu.topology", topologyText(want.cpu?.topology)],
  ["hugePages.pageSize", want.hugePageSize ?? "none"],
  ["graphics", want.graphics.toSorted().join(", ") || "none"],
];

const NO_ORDER = "none";

const bootOrders = (want: Domain): readonly Setting[] => {
  const devices = [
    { path: "rootDisk", ...want.rootDisk },
    ...want.volumes.map((volume) => ({ ...volume, path: `volumes[${volume.name}]` })),
    ...want.cdroms.map((cdrom) => ({ ...cdrom, path: `cdroms[${cdrom.name}]` })),
    ...want.interfaces.map((card) => ({ ...card, path: `networks[${card.network}]` })),
  ];
  return devices.map(({ path, bootOrder }) => [
    readableText(`${path}.bootOrder`),
    bootOrder === undefined ? NO_ORDER : String(bootOrder),
  ]);
};

/** Paths into the spec of a machine, and the values in words. */
export const restartSettings = (want: Domain): ReadonlyMap<string, string> =>
  new Map([...guestSettings(want), ...bootOrders(want).filter(([, order]) => order !== NO_ORDER)]);

/** A setting that was not written down at all is one that the agent of that time did not know. */
const settingChanges = (before: ReadonlyMap<string, string>, want: Domain): readonly PendingChange[] => {
  const settings = [
    ...guestSettings(want).map(([path, desired]) => ({
      path,
      desired,
      current: before.get(path) ?? desired,
    })),
    ...bootOrders(want).map(([path, desired]) => ({ path, desired, current: before.get(path) ?? NO_ORDER })),
  ];
  return settings
    .filter(({ current, desired }) => current !== desired)
    .map(({ path, current, desired }) => ({ path, current, desired }));
};

/** More vCPUs than were plugged are plugged while the guest runs, as far as it has room for them; none is taken away. */
const vcpuChanges = ({ vcpus }: ObservedHardware, want: Domain): readonly PendingChange[] =>
  want.vcpus < vcpus.current || want.vcpus > vcpus.maximum
    ? [{ path: "vcpus", current: String(vcpus.current), desired: String(want.vcpus) }]
    : [];

const memoryChanges = ({ memory }: ObservedHardware, want: Domain): readonly PendingChange[] => {
  const isOutside = want.memoryMiB < memory.initialMiB || want.memoryMiB > memory.maximumMiB;
  return isOutside
    ? [{ path: "memory", current: `${memory.currentMiB}Mi`, desired: `${want.memoryMiB}Mi` }]
    : [];
};

const busChanges = ({ disks }: ObservedHardware, want: Domain): readonly PendingChange[] =>
  want.volumes.flatMap(({ uid, name, bus }) => {
    const attached = disks.find((disk) => disk.kind === "disk" && disk.uid === uid);
    if (attached === undefined || attached.bus === bus) return [];
    return [{ path: readableText(`volumes[${name}].bus`), current: attached.bus, desired: bus }];
  });

/**
 * What of `want` the running guest gets only by a restart. Changes that are made
 * while it runs are not in it: volumes, CD-ROMs, and vCPUs and memory within its
 * limits. Nor are the limits: what they are for is said once it is asked for.
 */
export const pendingChanges = (hardware: ObservedHardware, want: Domain): readonly PendingChange[] => [
  ...vcpuChanges(hardware, want),
  ...memoryChanges(hardware, want),
  ...(hardware.settings === undefined ? [] : settingChanges(hardware.settings, want)),
  ...busChanges(hardware, want),
];
