import { MAX_VOLUMES } from "../../../api/virtual-machine-spec.ts";
import type { Configurator } from "./configurator.ts";
import { growthMiB } from "./memory.ts";
import { element } from "./xml.ts";

/** Root disk, SCSI controller, virtio-serial controller, balloon, random numbers. */
const FIXED_DEVICES = 5;

/**
 * PCI Express with a port for each device that there is, and for each volume
 * that there may be: only a port that was there at the guest's start can take
 * one while it runs. No USB, which an emulated guest spends CPU time on.
 * https://libvirt.org/pci-hotplug.html
 */
export const buses: Configurator = (want) => {
  const memory = growthMiB(want) === 0 ? 0 : 1;
  const ports = FIXED_DEVICES + memory + want.interfaces.length + MAX_VOLUMES;
  return {
    devices: [
      element("controller", { type: "pci", index: 0, model: "pcie-root" }),
      ...Array.from({ length: ports }, (_, port) =>
        element("controller", { type: "pci", index: port + 1, model: "pcie-root-port" }),
      ),
      element("controller", { type: "usb", model: "none" }),
      element("controller", { type: "scsi", index: 0, model: "virtio-scsi" }),
    ],
  };
};
