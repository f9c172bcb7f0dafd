import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

/**
 * A TPM 2.0 that swtpm emulates. libvirt keeps its state with the definition,
 * and removes it with that. https://libvirt.org/formatdomain.html#tpm-device
 */
export const tpm: Configurator = (want) =>
  want.tpm
    ? {
        devices: [
          element("tpm", { model: "tpm-crb" }, element("backend", { type: "emulator", version: "2.0" })),
        ],
      }
    : {};
