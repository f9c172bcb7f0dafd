import type { VolumeBus } from "../../api/virtual-machine-spec.ts";
import { diskOfAlias } from "./domain-xml/aliases.ts";
import { find, findAll, textOf, type XmlElement } from "./domain-xml/xml.ts";
import type { ObservedDisk, ObservedHardware, ObservedMemory } from "./types.ts";

/**
 * What a running domain has, as its XML tells. Pure.
 * https://libvirt.org/formatdomain.html
 */

/** libvirt answers in KiB; we describe in MiB. */
const UNITS_PER_MIB: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1 };

const numberIn = (text: string, what: string): number => {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value))
    throw new Error(`libvirt says ${JSON.stringify(text)} for ${what}`);
  return value;
};

const mebibytesOf = (element: XmlElement | undefined): number => {
  if (element === undefined) return 0;
  const { unit = "KiB" } = element.attributes;
  const units = UNITS_PER_MIB[unit];
  if (units === undefined) throw new Error(`libvirt tells <${element.name}> in ${unit}`);
  return numberIn(textOf(element), `<${element.name}>`) / units;
};

/** The device that lets memory grow. */
export const virtioMemOf = (domain: XmlElement): XmlElement | undefined =>
  findAll(domain, "devices", "memory").find(({ attributes }) => attributes["model"] === "virtio-mem");

const memoryOf = (domain: XmlElement): ObservedMemory => {
  const total = mebibytesOf(find(domain, "memory"));
  const target = find(virtioMemOf(domain) ?? domain, "target");
  if (target === undefined) {
    return { initialMiB: total, currentMiB: total, requestedMiB: total, maximumMiB: total, blockMiB: 1 };
  }
  const initialMiB = total - mebibytesOf(find(target, "size"));
  return {
    initialMiB,
    currentMiB: initialMiB + mebibytesOf(find(target, "current")),
    requestedMiB: initialMiB + mebibytesOf(find(target, "requested")),
    maximumMiB: total,
    blockMiB: mebibytesOf(find(target, "block")),
  };
};

const vcpusOf = (domain: XmlElement): ObservedHardware["vcpus"] => {
  const element = find(domain, "vcpu");
  const maximum = numberIn(textOf(element), "<vcpu>");
  const current = element?.attributes["current"];
  return { maximum, current: current === undefined ? maximum : numberIn(current, "<vcpu current>") };
};

const buses: Readonly<Record<string, VolumeBus>> = { virtio: "VirtIO", scsi: "SCSI" };

/** Elements with a <source>, from the head of a disk down. */
const chainOf = (disk: XmlElement): readonly XmlElement[] => {
  const below = find(disk, "backingStore");
  return [disk, ...(below === undefined ? [] : chainOf(below))].filter((each) => find(each, "source"));
};

const pathOf = (layer: XmlElement): string => find(layer, "source")?.attributes["file"] ?? "";

/** Guests that an agent of before has started have no aliases of ours: their one disk is the root disk. */
const identityOf = (disk: XmlElement, vmUid: string): Pick<ObservedDisk, "kind" | "uid"> | undefined => {
  const named = diskOfAlias(find(disk, "alias")?.attributes["name"] ?? "");
  if (named !== undefined) return named;
  return targetOf(disk) === "vda" ? { kind: "disk", uid: vmUid } : undefined;
};

const targetOf = (disk: XmlElement): string => find(disk, "target")?.attributes["dev"] ?? "";

const disksOf = (domain: XmlElement, vmUid: string): readonly ObservedDisk[] =>
  findAll(domain, "devices", "disk").flatMap((disk) => {
    const identity = identityOf(disk, vmUid);
    const bus = buses[find(disk, "target")?.attributes["bus"] ?? ""];
    if (identity === undefined || bus === undefined) return [];
    return [{ ...identity, bus, target: targetOf(disk), layers: chainOf(disk).map(pathOf) }];
  });

const settingsOf = (domain: XmlElement): ObservedHardware["settings"] => {
  const settings = findAll(domain, "metadata", "vireo:machine", "vireo:setting").map(
    ({ attributes }) => [attributes["path"] ?? "", attributes["value"] ?? ""] as const,
  );
  return settings.length === 0 ? undefined : new Map(settings);
};

export const hardwareOf = (domain: XmlElement, vmUid: string): ObservedHardware => ({
  disks: disksOf(domain, vmUid),
  interfaces: findAll(domain, "devices", "interface").map((card) => ({
    tap: targetOf(card),
    macAddress: find(card, "mac")?.attributes["address"] ?? "",
  })),
  vcpus: vcpusOf(domain),
  memory: memoryOf(domain),
  settings: settingsOf(domain),
});

/** Whether the XML is that of a domain that runs, and not of its next start. */
export const isLive = ({ attributes }: XmlElement): boolean => attributes["id"] !== undefined;

/** Names of all disks, whoever they belong to. */
export const targetsIn = (domain: XmlElement): readonly string[] =>
  findAll(domain, "devices", "disk").map(targetOf);

/** How many PCI Express ports have no device yet. */
export const freePortsIn = (domain: XmlElement): number => {
  const ports = findAll(domain, "devices", "controller")
    .filter(({ attributes }) => attributes["model"] === "pcie-root-port")
    .map(({ attributes }) => Number(attributes["index"]));
  const devices = find(domain, "devices")?.children ?? [];
  const used = new Set(
    devices
      .flatMap((device) => (typeof device === "string" ? [] : findAll(device, "address")))
      .filter(({ attributes }) => attributes["type"] === "pci")
      .map(({ attributes }) => Number(attributes["bus"])),
  );
  return ports.filter((port) => !used.has(port)).length;
};

/** Paths of layers that belong to other guests too: nothing is ever written into these. */
export const sharedLayersIn = (domain: XmlElement): ReadonlySet<string> => {
  const layers = findAll(domain, "devices", "disk").flatMap(chainOf);
  const shared = layers.filter((layer) =>
    findAll(layer, "source", "seclabel").some(({ attributes }) => attributes["relabel"] === "no"),
  );
  return new Set(shared.map(pathOf));
};
