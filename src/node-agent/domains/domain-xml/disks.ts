import type { VolumeBus } from "../../../api/virtual-machine-spec.ts";
import { type Domain, diskSerial, type DiskLayer, type DomainCdrom, type DomainDisk } from "../types.ts";
import { diskAlias, SEED_ALIAS } from "./aliases.ts";
import { bootPlaces } from "./boot-order.ts";
import type { Configurator } from "./configurator.ts";
import { element, type XmlElement } from "./xml.ts";

/** What libvirt calls a bus, and how the names of the disks on it begin. */
const buses = {
  VirtIO: { name: "virtio", prefix: "vd" },
  SCSI: { name: "scsi", prefix: "sd" },
} as const satisfies Record<VolumeBus, { name: string; prefix: string }>;

const LETTERS: readonly string[] = "abcdefghijklmnopqrstuvwxyz".split("");

/**
 * The first name on a bus that is not in use: vda, vdb, …; undefined when all
 * are. A machine has fewer disks than the alphabet has letters.
 */
export const freeTarget = (bus: VolumeBus, inUse: ReadonlySet<string>): string | undefined =>
  LETTERS.map((letter) => buses[bus].prefix + letter).find((name) => !inUse.has(name));

const notOurs = element("seclabel", { model: "dac", relabel: "no" });

const sourceOf = ({ path, shared = false }: DiskLayer): XmlElement =>
  element("source", { file: path }, ...(shared ? [notOurs] : []));

/**
 * What the guest's writes go to, and all that is below it, down to an explicit
 * end: QEMU and libvirt must not guess the format of something that a guest has
 * written (OSSA-2026-002). A file that belongs to many guests is not given to
 * the user of one of them.
 */
export const layerElements = (layers: readonly DiskLayer[]): readonly XmlElement[] => {
  const [head, ...below] = layers;
  if (head === undefined) return [];
  const chain = below.reduceRight(
    (lower, layer) =>
      element(
        "backingStore",
        { type: "file" },
        element("format", { type: layer.format }),
        sourceOf(layer),
        lower,
      ),
    element("backingStore"),
  );
  return [sourceOf(head), chain];
};

/** For SCSI: the address says what the name says, so that it does not depend on libvirt's arithmetic. */
const addressOf = (bus: VolumeBus, target: string): readonly XmlElement[] =>
  bus === "SCSI"
    ? [
        element("address", {
          type: "drive",
          controller: 0,
          bus: 0,
          target: LETTERS.indexOf(target.slice(-1)),
          unit: 0,
        }),
      ]
    : [];

const bootElement = (place: number | undefined): readonly XmlElement[] =>
  place === undefined ? [] : [element("boot", { order: place })];

interface Place {
  /** libvirt's name: vda. */
  readonly target: string;
  readonly boot?: number | undefined;
}

/**
 * - cache='writeback': the node's page cache holds an image once for all of its
 *   guests, and works on every file system. A flush of the guest still reaches
 *   the disk. What is lost is O_DIRECT's steadier latency.
 * - discard='unmap': blocks that the guest frees leave the head.
 *
 * https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
 */
export const diskElement = ({ uid, bus, layers }: DomainDisk, { target, boot }: Place): XmlElement => {
  const [{ format }] = layers;
  return element(
    "disk",
    { type: "file", device: "disk" },
    element("driver", { name: "qemu", type: format, cache: "writeback", discard: "unmap" }),
    ...layerElements(layers),
    element("target", { dev: target, bus: buses[bus].name }),
    element("serial", {}, diskSerial(uid)),
    ...bootElement(boot),
    element("alias", { name: diskAlias("disk", uid) }),
    ...addressOf(bus, target),
  );
};

const cdrom = (path: string, shared: boolean, alias: string, { target, boot }: Place): XmlElement =>
  element(
    "disk",
    { type: "file", device: "cdrom" },
    element("driver", { name: "qemu", type: "raw" }),
    ...layerElements([{ path, format: "raw", shared }]),
    element("target", { dev: target, bus: buses.SCSI.name }),
    element("readonly"),
    ...bootElement(boot),
    element("alias", { name: alias }),
    ...addressOf("SCSI", target),
  );

/** CD-ROMs are on virtio-scsi: kernels made for clouds have no driver for SATA. */
export const cdromElement = ({ uid, path }: DomainCdrom, place: Place): XmlElement =>
  cdrom(path, true, diskAlias("cdrom", uid), place);

/** The root disk in the same terms as the others. */
export const rootDiskOf = ({ vmUid, rootDisk }: Domain): DomainDisk => ({
  ...rootDisk,
  uid: vmUid,
  name: "root",
  bus: "VirtIO",
});

const SEED_TARGET = "sda";

/** Gives out the names of disks in turn. */
const targets = () => {
  const inUse = new Set([SEED_TARGET]);
  return (bus: VolumeBus): string => {
    const target = freeTarget(bus, inUse);
    if (target === undefined) throw new RangeError(`a guest cannot have more disks on ${bus}`);
    inUse.add(target);
    return target;
  };
};

/** The seed is the first of the CD-ROMs, and never booted from. */
export const disks: Configurator = (want) => {
  const places = bootPlaces(want);
  const next = targets();
  const root = diskElement(rootDiskOf(want), { target: next("VirtIO"), boot: places.get(want.rootDisk) });
  const seed = cdrom(want.seedPath, false, SEED_ALIAS, { target: SEED_TARGET });
  const cdroms = want.cdroms.map((one) => cdromElement(one, { target: next("SCSI"), boot: places.get(one) }));
  const volumes = want.volumes.map((volume) =>
    diskElement(volume, { target: next(volume.bus), boot: places.get(volume) }),
  );
  return { devices: [root, seed, ...cdroms, ...volumes] };
};
