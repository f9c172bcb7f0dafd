import type { XmlElement } from "./domain-xml/xml.ts";

/**
 * What is taken over of a running guest's description that another node has
 * sent: what the guest sees of its hardware, and nothing that names anything of
 * a host. Everything that is not in the table is left out; a value that is no
 * plain word or number cannot be a path.
 */
interface Known {
  readonly attributes: readonly string[];
  readonly hasText: boolean;
  readonly children: Readonly<Record<string, Known>>;
}

const known = (attributes: string, children: Known["children"] = {}): Known => ({
  attributes: attributes.split(" ").filter((name) => name !== ""),
  hasText: false,
  children,
});
const text = (attributes = ""): Known => ({ ...known(attributes), hasText: true });

const address = known(
  "type domain bus slot function multifunction controller target unit port base iobase irq",
);
const alias = known("name");
const boot = known("order");
const size = text("unit");

/** What all devices may have. */
const device = (attributes: string, children: Known["children"] = {}): Known =>
  known(attributes, { address, alias, ...children });

const devices = known("", {
  controller: device("type index model ports", { target: known("chassis chassisNr port busNr") }),
  disk: device("type device", {
    driver: known("name type cache discard"),
    target: known("dev bus"),
    serial: text(),
    readonly: known(""),
    boot,
  }),
  interface: device("type", {
    mac: known("address"),
    model: known("type"),
    mtu: known("size"),
    rom: known("enabled"),
    boot,
  }),
  serial: device("type", { target: known("type port", { model: known("name") }) }),
  channel: device("type", { target: known("type name") }),
  input: device("type bus"),
  graphics: known("type"),
  audio: known("id type"),
  video: device("", { model: known("type vram ram vgamem heads primary") }),
  memballoon: device("model freePageReporting autodeflate", { stats: known("period") }),
  rng: device("model"),
  panic: device("model"),
  watchdog: device("model action"),
  tpm: device("model", { backend: known("type version persistent_state") }),
  memory: device("model", {
    target: known("", { size, node: text(), block: size, requested: size, current: size }),
  }),
});

const cpu = known("mode match check migratable", {
  model: text("fallback vendor_id"),
  vendor: text(),
  topology: known("sockets dies cores threads"),
  feature: known("policy name"),
  cache: known("level mode"),
  maxphysaddr: known("mode bits"),
  numa: known("", { cell: known("id cpus memory unit") }),
});

/** What of a domain is taken over. Its name, its UUID and its firmware are not. */
const domain: Known["children"] = {
  maxMemory: text("slots unit"),
  memory: size,
  currentMemory: size,
  memoryBacking: known("", { hugepages: known("", { page: known("size unit nodeset") }) }),
  vcpu: text("placement current"),
  vcpus: known("", { vcpu: known("id enabled hotpluggable order") }),
  features: known("", {
    acpi: known(""),
    apic: known("eoi"),
    pae: known(""),
    vmport: known("state"),
    smm: known("state"),
    tcg: known("", { "tb-cache": size }),
  }),
  cpu,
  clock: known("offset", { timer: known("name tickpolicy present track") }),
  on_poweroff: text(),
  on_reboot: text(),
  on_crash: text(),
  devices,
};

const PLAIN = /^[A-Za-z0-9_.,:+() -]{0,128}$/;

const take = ({ name, attributes, children }: XmlElement, what: Known): XmlElement => ({
  name,
  attributes: Object.fromEntries(
    Object.entries(attributes).filter(([key, value]) => what.attributes.includes(key) && PLAIN.test(value)),
  ),
  children: takeChildren(children, what),
});

const takeChildren = (all: XmlElement["children"], { children, hasText }: Known): XmlElement["children"] =>
  all.flatMap((child): XmlElement["children"] => {
    if (typeof child === "string") return hasText && PLAIN.test(child) ? [child] : [];
    const what = Object.hasOwn(children, child.name) ? children[child.name] : undefined;
    return what === undefined ? [] : [take(child, what)];
  });

/** Names that libvirt has given devices itself are of no use elsewhere. */
const withoutForeignAliases = (element: XmlElement): XmlElement => ({
  ...element,
  children: element.children.flatMap((child): XmlElement["children"] => {
    if (typeof child === "string") return [child];
    if (child.name === "alias" && !(child.attributes["name"] ?? "").startsWith("ua-")) return [];
    return [withoutForeignAliases(child)];
  }),
});

/** The guest's hardware in a description, and nothing else of it. */
export const knownElements = (description: XmlElement): readonly XmlElement[] =>
  takeChildren(description.children, known("", domain)).flatMap((child) =>
    typeof child === "string" ? [] : [withoutForeignAliases(child)],
  );
