import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/** https://libvirt.org/formatdomain.html#memory-allocation */
export const memory: Configurator = ({ memoryMiB }) => ({
  domain: [element("memory", { unit: "MiB" }, memoryMiB)],
});
