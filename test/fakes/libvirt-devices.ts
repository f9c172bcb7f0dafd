import { ErrorCode } from "../../src/libvirt/index.ts";
import { FakeLibvirtError } from "./libvirt-domains.ts";

/** The devices in a domain's XML, as far as the fake understands them. */

const DEVICE = /<(disk|interface|hostdev|memory|channel|controller)\b[^>]*?(?:\/>|>[^]*?<\/\1>)/g;

const attributeOf = (xml: string, element: string, name: string): string | undefined =>
  new RegExp(`<${element}\\b[^>]*\\b${name}=["']([^"']*)["']`).exec(xml)?.[1];

const kindOf = (device: string): string => /^\s*<(\w+)/.exec(device)?.[1] ?? "";

/** What makes a device the one that is meant: a disk's target, an interface's address, else its alias. */
const identityOf = (device: string): string => {
  const identity =
    attributeOf(device, "target", "dev") ??
    attributeOf(device, "mac", "address") ??
    attributeOf(device, "alias", "name");
  return `${kindOf(device)} ${identity ?? device}`;
};

const devicesIn = (xml: string): readonly string[] => {
  const inside = /<devices>[^]*<\/devices>/.exec(xml)?.[0] ?? "";
  return [...inside.matchAll(DEVICE)].map(([device]) => device);
};

export const aliasOf = (device: string): string =>
  attributeOf(device, "alias", "name") ?? identityOf(device).replace(/^.* /, "");

export const deviceLike = (xml: string, device: string): string => {
  const wanted = identityOf(device);
  const match = devicesIn(xml).find((each) => identityOf(each) === wanted);
  if (match === undefined) {
    throw new FakeLibvirtError(ErrorCode.DEVICE_MISSING, `device not found: no ${wanted}`);
  }
  return match;
};

export const deviceWithAlias = (xml: string, alias: string): string => {
  const match = devicesIn(xml).find((each) => aliasOf(each) === alias);
  if (match === undefined) {
    // As libvirt 9.0 says it.
    throw new FakeLibvirtError(
      ErrorCode.INTERNAL_ERROR,
      `internal error: no device found with alias ${alias}`,
    );
  }
  return match;
};

/** The disk with that target or that image. */
export const diskOf = (xml: string, disk: string): string => {
  const match = devicesIn(xml).find(
    (each) =>
      kindOf(each) === "disk" &&
      [attributeOf(each, "target", "dev"), attributeOf(each, "source", "file")].includes(disk),
  );
  if (match !== undefined) return match;
  throw new FakeLibvirtError(ErrorCode.INVALID_ARG, `invalid argument: disk '${disk}' not found in domain`);
};

export const targetOf = (disk: string): string => attributeOf(disk, "target", "dev") ?? "";

export const withDevice = (xml: string, device: string): string => {
  if (kindOf(device) === "")
    throw new FakeLibvirtError(ErrorCode.XML_ERROR, "(device_definition): no device");
  if (devicesIn(xml).some((each) => identityOf(each) === identityOf(device))) {
    throw new FakeLibvirtError(ErrorCode.XML_ERROR, `XML error: target of ${identityOf(device)} duplicated`);
  }
  return xml.includes("</devices>")
    ? xml.replace("</devices>", () => `${device}</devices>`)
    : xml.replace("</domain>", () => `<devices>${device}</devices></domain>`);
};

export const withoutDevice = (xml: string, device: string): string => xml.replace(device, "");

export const replaceDevice = (xml: string, old: string, device: string): string =>
  xml.replace(old, () => device);

/** The image that the guest writes becomes `file`. */
export const withSourceFile = (disk: string, file: string): string =>
  disk.replace(/<source\b[^>]*?(?:\/>|>[^]*?<\/source>)/, () => `<source file='${file}'/>`);

/** The disks that a snapshot's XML names, with the images that it puts on them. */
export const overlaysIn = (snapshotXml: string): readonly { disk: string; file: string }[] =>
  [...snapshotXml.matchAll(/<disk\b[^>]*?(?:\/>|>[^]*?<\/disk>)/g)].flatMap(([element]) => {
    const disk = attributeOf(element, "disk", "name");
    const file = attributeOf(element, "source", "file");
    return disk === undefined || file === undefined ? [] : [{ disk, file }];
  });

export const nameIn = (snapshotXml: string): string | undefined =>
  /<name>([^<]*)<\/name>/.exec(snapshotXml)?.[1];

/** How many vCPUs an XML asks for now, and at most. */
export const vcpusIn = (xml: string): { readonly current: number; readonly maximum: number } => {
  const [, attributes = "", maximum = "1"] = /<vcpu\b([^>]*)>\s*(\d+)\s*<\/vcpu>/.exec(xml) ?? [];
  const current = /\bcurrent=["'](\d+)["']/.exec(attributes)?.[1] ?? maximum;
  return { current: Number(current), maximum: Number(maximum) };
};

export const withVcpus = (xml: string, count: number): string => {
  const { maximum } = vcpusIn(xml);
  const element = `<vcpu current='${count}'>${maximum}</vcpu>`;
  return /<vcpu\b/.test(xml)
    ? xml.replace(/<vcpu\b[^>]*>\s*\d+\s*<\/vcpu>/, element)
    : xml.replace("</domain>", `${element}</domain>`);
};

const KIB_PER: Readonly<Record<string, bigint>> = { KiB: 1n, MiB: 1_024n, GiB: 1_048_576n };

/** How much memory an XML gives, in KiB. */
export const memoryKibIn = (xml: string): bigint => {
  const [, unit = "KiB", amount = "0"] =
    /<memory\b[^>]*?(?:\bunit=["'](\w+)["'])?>\s*(\d+)\s*<\/memory>/.exec(xml) ?? [];
  return BigInt(amount) * (KIB_PER[unit] ?? 1n);
};
