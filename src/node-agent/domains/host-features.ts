import type { Firmware } from "../../api/virtual-machine-spec.ts";
import type { CallOptions, LibvirtVerbs } from "../../libvirt/index.ts";
import type { HostParts, UefiFirmware } from "./domain-xml/index.ts";
import { findAll, parseXml, textOf, type XmlElement } from "./domain-xml/xml.ts";
import { type Domain, DomainRefusedError } from "./types.ts";

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

/** What a node can give its guests beyond the ordinary. */
export interface HostFeatures {
  readonly uefi: UefiFirmware | undefined;
  /** Whether swtpm is installed. */
  readonly tpm: boolean;
  readonly spice: boolean;
  /** Names of CPU models that guests can have. */
  readonly cpuModels: ReadonlySet<string>;
}

const cpuModelsIn = (capabilities: XmlElement): readonly string[] =>
  findAll(capabilities, "cpu", "mode")
    .filter(({ attributes }) => attributes["name"] === "custom")
    .flatMap((custom) => findAll(custom, "model").map(textOf));

/** https://libvirt.org/formatdomaincaps.html */
export const hostFeaturesIn = (capabilitiesXml: string): HostFeatures => {
  const capabilities = parseXml(capabilitiesXml);
  const values = (device: string, name: string): readonly string[] =>
    findAll(capabilities, "devices", device, "enum")
      .filter(({ attributes }) => attributes["name"] === name)
      .flatMap((choices) => findAll(choices, "value").map(textOf));
  const loaders = new Set(findAll(capabilities, "os", "loader", "value").map(textOf));
  return {
    uefi: knownFirmwares.find(({ code }) => loaders.has(code)),
    tpm: values("tpm", "backendModel").includes("emulator"),
    spice: values("graphics", "type").includes("spice"),
    cpuModels: new Set(cpuModelsIn(capabilities)),
  };
};

/** Asks libvirt, since programs and files are the node's and not those of this process's container. */
const findHostFeatures = async (
  libvirt: Pick<LibvirtVerbs, "domainCapabilities">,
  options: CallOptions,
): Promise<HostFeatures> =>
  hostFeaturesIn(await libvirt.domainCapabilities({ arch: "x86_64", machine: "q35", type: "qemu" }, options));

/** A CPU model by its name: the names of others are libvirt's words for what it finds out itself. */
const namedModel = ({ cpu }: Domain): string | undefined =>
  cpu?.model === "host-model" || cpu?.model === "host-passthrough" ? undefined : cpu?.model;

/** What guests on this node can have, for its Hypervisor. Rejects with an error of src/libvirt. */
export const availableFeatures = async (
  libvirt: Pick<LibvirtVerbs, "domainCapabilities">,
  options: CallOptions,
): Promise<{ readonly firmwares: readonly Firmware[]; readonly tpm: boolean }> => {
  const { uefi, tpm } = await findHostFeatures(libvirt, options);
  return { firmwares: uefi === undefined ? ["BIOS"] : ["BIOS", "UEFI"], tpm };
};

/** What somebody has to do about a guest that this node cannot run. */
const whyNot = (want: Domain, features: HostFeatures): string | undefined => {
  if (want.firmware === "UEFI" && features.uefi === undefined) {
    return "is to boot with UEFI and this node has no UEFI firmware: install it (Debian: ovmf)";
  }
  if (want.tpm && !features.tpm) {
    return "is to have a TPM and this node cannot emulate one: install swtpm (Debian: swtpm, swtpm-tools)";
  }
  const model = namedModel(want);
  return model === undefined || features.cpuModels.has(model)
    ? undefined
    : `is to have a CPU of model ${JSON.stringify(model)}, which this node's QEMU does not know: name another in spec.cpu.model`;
};

/** What the guest needs of the node's features. Rejects with DomainRefusedError when the node lacks something. */
export const featuresFor = async (
  want: Domain,
  libvirt: Pick<LibvirtVerbs, "domainCapabilities">,
  options: CallOptions,
): Promise<Pick<HostParts, "uefi" | "spice">> => {
  const asksForNone = want.firmware === "BIOS" && !want.tpm && namedModel(want) === undefined;
  // Most guests need none of it, and are started without asking.
  if (asksForNone && !want.graphics.includes("SPICE")) return {};
  const features = await findHostFeatures(libvirt, options);
  const reason = whyNot(want, features);
  if (reason !== undefined) throw new DomainRefusedError(`machine ${want.vmUid} ${reason}`);
  return { uefi: features.uefi, spice: features.spice };
};
