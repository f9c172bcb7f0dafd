import type { Configurator } from "./configurator.ts";
import { element, type XmlElement } from "./xml.ts";

/**
 * The whole chain is spelled out, with formats: QEMU and libvirt must not guess
 * the format of something that a guest has written (OSSA-2026-002).
 *
 * - cache='writeback': the node's page cache holds an image once for all of its
 *   guests, and works on every file system. A flush of the guest still reaches
 *   the disk. What is lost is O_DIRECT's steadier latency.
 * - discard='unmap': blocks that the guest frees leave the overlay.
 * - The image belongs to many guests: libvirt must not give it to one of them.
 */
const rootDisk: Configurator = ({ rootDisk: { path, backing } }) => {
  const notOurs = element("seclabel", { model: "dac", relabel: "no" });
  const image = element(
    "backingStore",
    { type: "file" },
    element("format", { type: backing.format }),
    element("source", { file: backing.path }, notOurs),
    element("backingStore"),
  );
  return {
    devices: [
      element(
        "disk",
        { type: "file", device: "disk" },
        element("driver", { name: "qemu", type: "qcow2", cache: "writeback", discard: "unmap" }),
        element("source", { file: path }),
        image,
        element("target", { dev: "vda", bus: "virtio" }),
      ),
    ],
  };
};

/** The seed is a CD-ROM on virtio-scsi: kernels made for clouds have no driver for SATA. */
const seed = (path: string): XmlElement =>
  element(
    "disk",
    { type: "file", device: "cdrom" },
    element("driver", { name: "qemu", type: "raw" }),
    element("source", { file: path }),
    element("backingStore"),
    element("target", { dev: "sda", bus: "scsi" }),
    element("readonly"),
  );

/** https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms */
export const disks: Configurator = (want, host) => ({
  devices: [...(rootDisk(want, host).devices ?? []), seed(want.seedPath)],
});
