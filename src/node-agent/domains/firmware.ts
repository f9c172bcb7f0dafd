import { XMLParser } from "fast-xml-parser";
import { z } from "zod";
import type { Firmware } from "../../api/virtual-machine.ts";
import type { CallOptions, LibvirtVerbs } from "../../libvirt/index.ts";
import type { UefiFirmware } from "./domain-xml/index.ts";

/**
 * Where distributions keep a UEFI firmware without Secure Boot, and the
 * template of its variables. The first that libvirt knows of is used.
 */
const knownFirmwares: readonly UefiFirmware[] = [
  // Debian, Ubuntu
  { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variablesTemplate: "/usr/share/OVMF/OVMF_VARS_4M.fd" },
  { code: "/usr/share/OVMF/OVMF_CODE.fd", variablesTemplate: "/usr/share/OVMF/OVMF_VARS.fd" },
  // Fedora, CentOS, Arch
  { code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", variablesTemplate: "/usr/share/edk2/ovmf/OVMF_VARS.fd" },
  {
    code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    variablesTemplate: "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
  },
  // openSUSE
  {
    code: "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
    variablesTemplate: "/usr/share/qemu/ovmf-x86_64-4m-vars.bin",
  },
];

const parser = new XMLParser({
  parseTagValue: false,
  isArray: (_name, path) => path === "domainCapabilities.os.loader.value",
});

/** https://libvirt.org/formatdomaincaps.html#bios-bootloader */
const capabilities = z.object({
  domainCapabilities: z.object({
    os: z.object({ loader: z.object({ value: z.array(z.string()).default([]) }).optional() }).optional(),
  }),
});

/** The firmware files that libvirt's domain capabilities name and that we know to be without Secure Boot. */
export const uefiFirmwareIn = (capabilitiesXml: string): UefiFirmware | undefined => {
  const { domainCapabilities } = capabilities.parse(parser.parse(capabilitiesXml));
  const present = new Set(domainCapabilities.os?.loader?.value);
  return knownFirmwares.find(({ code }) => present.has(code));
};

/** Asks libvirt, since the files are the node's and not those of this process's container. */
export const findUefiFirmware = async (
  libvirt: Pick<LibvirtVerbs, "domainCapabilities">,
  options: CallOptions,
): Promise<UefiFirmware | undefined> =>
  uefiFirmwareIn(await libvirt.domainCapabilities({ arch: "x86_64", machine: "q35", type: "qemu" }, options));

/** What a guest on this node can boot with. Rejects with an error of src/libvirt. */
export const availableFirmwares = async (
  libvirt: Pick<LibvirtVerbs, "domainCapabilities">,
  options: CallOptions,
): Promise<readonly Firmware[]> =>
  (await findUefiFirmware(libvirt, options)) === undefined ? ["BIOS"] : ["BIOS", "UEFI"];
