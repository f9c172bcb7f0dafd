import type { Configurator } from "./configurator.ts";
import { growthMiB } from "./memory.ts";
import { element } from "./xml.ts";

/** Devices that can be plugged into a running guest: each needs a port that was there at its start. */
const SPARE_ROOT_PORTS = 8;

/** Root disk, SCSI controller, virtio-serial controller, balloon, random numbers. */
const FIXED_DEVICES = 5;

/**
 * PCI Express with ports for all devices and some to spare; no USB, which an
 * emulated guest spends CPU time on. https://libvirt.org/pci-hotplug.html
 */
export const buses: Configurator = (want) => {
  const volumes = want.volumes.filter(({ bus }) => bus === "VirtIO").length;
  const memory = growthMiB(want) === 0 ? 0 : 1;
  const ports = FIXED_DEVICES + memory + want.interfaces.length + volumes + SPARE_ROOT_PORTS;
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
