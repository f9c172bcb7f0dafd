import type { Configurator } from "./configurator.ts";
import { element } from "./xml.ts";

const type = element("type", { arch: "x86_64", machine: "q35" }, "hvm");

/**
 * BIOS is what the machine type comes with. UEFI names its files, so that the
 * choice is ours and not that of the order of descriptors on the node; libvirt
 * copies the template to a file of the guest's own at the first start and
 * removes that with the definition. What is booted from is said by the devices
 * themselves: see boot-order.ts.
 *
 * https://libvirt.org/formatdomain.html#bios-bootloader
 */
export const firmware: Configurator = ({ firmware }, { uefi }) => {
  if (firmware === "BIOS") return { domain: [element("os", {}, type)] };
  if (uefi === undefined) throw new RangeError("a guest with UEFI needs the node's UEFI firmware");
  const loader = element("loader", { readonly: "yes", secure: "no", type: "pflash" }, uefi.code);
  const nvram = element("nvram", { template: uefi.variablesTemplate });
  return { domain: [element("os", {}, type, loader, nvram)] };
};
