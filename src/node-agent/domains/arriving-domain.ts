import { domainXml, type HostParts } from "./domain-xml/index.ts";
import { element, find, findAll, parseXml, serialize, type XmlElement } from "./domain-xml/xml.ts";
import { hardwareOf } from "./hardware.ts";
import { knownElements } from "./known-elements.ts";
import { withPartsOf } from "./saved-domain.ts";
import { type Domain, DomainRefusedError, type ObservedHardware } from "./types.ts";

/**
 * The description of a guest that arrives from another node. Everything of this
 * host in it is this node's own: files, taps, sockets, firmware. Of what the
 * other node says only the guest's hardware is taken over, which must stay what
 * it is: see known-elements.ts. libvirt of the source compares the two and
 * refuses a guest that would see a difference. Pure.
 */

export interface ArrivingDomain {
  readonly xml: string;
  readonly hardware: ObservedHardware;
}

/** Only a machine type of the family that this node would choose itself. */
const MACHINE = /^pc-q35-[0-9]+\.[0-9]+$/;

const onMachine = (type: XmlElement, machine: string): XmlElement => ({
  ...type,
  attributes: { ...type.attributes, machine },
});

/** The machine type with its version, which the guest was started with. */
const osOf = (own: XmlElement, running: XmlElement): XmlElement => {
  const os = find(own, "os") ?? element("os");
  const machine = find(running, "os", "type")?.attributes["machine"] ?? "";
  if (!MACHINE.test(machine)) throw new DomainRefusedError(`the guest runs on a machine ${machine}`);
  return {
    ...os,
    children: os.children.map((child) =>
      typeof child !== "string" && child.name === "type" ? onMachine(child, machine) : child,
    ),
  };
};

/** Names for people are this node's; the settings are those that the guest was started with. */
const metadataOf = (own: XmlElement, running: XmlElement): readonly XmlElement[] => {
  const mark = find(own, "metadata", "vireo:machine");
  if (mark === undefined) return [];
  const settings = findAll(running, "metadata", "vireo:machine", "vireo:setting").map(({ attributes }) =>
    element("vireo:setting", { path: attributes["path"], value: attributes["value"] }),
  );
  const names = mark.children.filter((child) => typeof child === "string" || child.name !== "vireo:setting");
  return [element("metadata", {}, { ...mark, children: [...names, ...settings] })];
};

/** Random numbers come from this node. */
const withOwnRng = (devices: XmlElement, own: XmlElement): XmlElement => {
  const backend = find(own, "devices", "rng", "backend");
  return {
    ...devices,
    children: devices.children.map((child) =>
      typeof child === "string" || child.name !== "rng" || backend === undefined
        ? child
        : { ...child, children: [backend, ...child.children] },
    ),
  };
};

/** Throws DomainRefusedError when the machine lacks something that the running guest has. */
export const arrivingDomain = (runningXml: string, want: Domain, host: HostParts): ArrivingDomain => {
  const running = parseXml(runningXml);
  const own = parseXml(domainXml(want, host));
  const identity = ["name", "uuid", "title"].flatMap((name) => find(own, name) ?? []);
  const hardware: XmlElement = { name: "domain", attributes: {}, children: knownElements(running) };
  const { children } = withPartsOf(hardware, want, host);
  const rest = children.map((child) =>
    typeof child !== "string" && child.name === "devices" ? withOwnRng(child, own) : child,
  );
  const arriving = element(
    "domain",
    { type: own.attributes["type"] },
    ...identity,
    ...metadataOf(own, running),
    osOf(own, running),
    ...rest,
  );
  return { xml: serialize(arriving), hardware: hardwareOf(arriving, want.vmUid) };
};
