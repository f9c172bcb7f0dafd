import type { Domain } from "../types.ts";
import { accelerator } from "./accelerator.ts";
import { buses } from "./buses.ts";
import { clock } from "./clock.ts";
import type { Configurator, Fragment, HostParts } from "./configurator.ts";
import { consoles } from "./consoles.ts";
import { cpu } from "./cpu.ts";
import { disks } from "./disks.ts";
import { firmware } from "./firmware.ts";
import { general } from "./general.ts";
import { guestServices } from "./guest-services.ts";
import { interfaces } from "./interfaces.ts";
import { memory } from "./memory.ts";
import { power } from "./power.ts";
import { tpm } from "./tpm.ts";
import { element, serialize } from "./xml.ts";

export type { HostParts, UefiFirmware } from "./configurator.ts";

const configurators: readonly Configurator[] = [
  general,
  memory,
  cpu,
  accelerator,
  firmware,
  power,
  clock,
  buses,
  disks,
  interfaces,
  consoles,
  guestServices,
  tpm,
];

/** libvirt's word for the accelerator. */
const domainTypes = { kvm: "kvm", tcg: "qemu" } as const;

/**
 * The guest in libvirt's words: https://libvirt.org/formatdomain.html
 *
 * Pure. Throws RangeError for a path with a character that XML cannot carry.
 */
export const domainXml = (want: Domain, host: HostParts): string => {
  const fragments = configurators.map((configure) => configure(want, host));
  const all = (part: keyof Fragment) => fragments.flatMap((fragment) => fragment[part] ?? []);
  return serialize(
    element(
      "domain",
      { type: domainTypes[want.acceleration] },
      ...all("domain"),
      element("features", {}, ...all("features")),
      element("devices", {}, ...all("devices")),
    ),
  );
};
