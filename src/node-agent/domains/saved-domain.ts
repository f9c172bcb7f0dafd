import { diskOfAlias, SEED_ALIAS } from "./domain-xml/aliases.ts";
import type { HostParts } from "./domain-xml/index.ts";
import { layerElements, rootDiskOf } from "./domain-xml/disks.ts";
import { element, find, type XmlElement } from "./domain-xml/xml.ts";
import { type DiskLayer, type Domain, DomainRefusedError } from "./types.ts";

/**
 * The description that a guest's memory was saved with, on the files, taps and
 * sockets that it has today. What the guest sees must be what it saw then, so
 * all else stays. Pure.
 */

type Rewrite = (device: XmlElement) => XmlElement;

const aliasOf = (device: XmlElement): string => find(device, "alias")?.attributes["name"] ?? "";

const without = ({ children }: XmlElement, ...names: readonly string[]): XmlElement["children"] =>
  children.filter((child) => typeof child === "string" || !names.includes(child.name));

const layersFor = (alias: string, want: Domain): readonly DiskLayer[] => {
  if (alias === SEED_ALIAS) return [{ path: want.seedPath, format: "raw" }];
  const named = diskOfAlias(alias);
  const disk = [rootDiskOf(want), ...want.volumes].find(({ uid }) => uid === named?.uid);
  if (named?.kind === "disk" && disk !== undefined) return disk.layers;
  const cdrom = want.cdroms.find(({ uid }) => uid === named?.uid);
  if (named?.kind === "cdrom" && cdrom !== undefined) {
    return [{ path: cdrom.path, format: "raw", shared: true }];
  }
  throw new DomainRefusedError(
    `the guest's memory was saved while it had disk ${alias}, which the machine has no longer: without it the guest cannot go on from there`,
  );
};

const disk =
  (want: Domain): Rewrite =>
  (device) => ({
    ...device,
    children: [
      ...without(device, "source", "backingStore"),
      ...layerElements(layersFor(aliasOf(device), want)),
    ],
  });

const card =
  ({ interfaces }: Domain): Rewrite =>
  (device) => {
    const address = find(device, "mac")?.attributes["address"];
    const wanted = interfaces.find(({ macAddress }) => macAddress.toLowerCase() === address?.toLowerCase());
    if (wanted === undefined) {
      throw new DomainRefusedError(
        `the guest's memory was saved while it had a card ${address}, which the machine has no longer`,
      );
    }
    const target = element("target", { dev: wanted.tap, managed: "no" });
    return { ...device, children: [...without(device, "target"), target] };
  };

const serial =
  ({ consoleSocketPath, consoleLogPath }: HostParts): Rewrite =>
  (device) => ({
    ...device,
    children: [
      ...without(device, "source", "log"),
      element("source", { mode: "bind", path: consoleSocketPath }),
      element("log", { file: consoleLogPath, append: "on" }),
    ],
  });

/** A path that libvirt has chosen for the run of then. */
const graphics: Rewrite = (device) =>
  element("graphics", { type: device.attributes["type"] }, element("listen", { type: "socket" }));

const unchanged: Rewrite = (device) => device;

/** Throws DomainRefusedError when the machine lacks something that the guest had. */
export const withPartsOf = (saved: XmlElement, want: Domain, host: HostParts): XmlElement => {
  const rewrites: Readonly<Record<string, Rewrite>> = {
    disk: disk(want),
    interface: card(want),
    serial: serial(host),
    graphics,
  };
  const devices = (list: XmlElement): XmlElement => ({
    ...list,
    children: list.children
      // The first serial port under another name: libvirt makes it of that.
      .filter((device) => typeof device === "string" || device.name !== "console")
      .map((device) => (typeof device === "string" ? device : (rewrites[device.name] ?? unchanged)(device))),
  });
  return {
    ...saved,
    children: saved.children.map((child) =>
      typeof child !== "string" && child.name === "devices" ? devices(child) : child,
    ),
  };
};
