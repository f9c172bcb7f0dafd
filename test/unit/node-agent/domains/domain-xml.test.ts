import { describe, expect, test } from "@jest/globals";
import { XMLParser, XMLValidator } from "fast-xml-parser";
import fc from "fast-check";

import { domainXml, type HostParts } from "../../../../src/node-agent/domains/domain-xml/index.ts";
import { element, readableText, serialize } from "../../../../src/node-agent/domains/domain-xml/xml.ts";
import type { Domain } from "../../../../src/node-agent/domains/types.ts";
import { wantedDomain } from "./wanted.ts";

const host: HostParts = {
  consoleLogPath: "/var/lib/vireo/consoles/4dea22b3-1d52-48f3-a516-782e98ab3fa0.log",
  consoleSocketPath: "/var/lib/vireo/consoles/4dea22b3-1d52-48f3-a516-782e98ab3fa0.sock",
  uefi: { code: "/usr/share/OVMF/CODE.fd", variablesTemplate: "/usr/share/OVMF/VARS.fd" },
};

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
});

/** Follows names through parsed XML. */
const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>(
    (inner, name) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, name) : undefined),
    value,
  );

const parsed = (changes: Partial<Domain> = {}): unknown =>
  at(parser.parse(domainXml(wantedDomain(changes), host)), "domain");

const listed = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : value === undefined ? [] : [value];

const hostileTexts = [
  "../../../etc/passwd",
  `"'><&`,
  "</title></domain><domain type='kvm'>",
  "]]>",
  "<!-- --><![CDATA[x]]>",
  "&amp;&#0;&xxe;",
  "line\nbreak\r\ttab",
  "\u0000\u0001\u001b[31m\u007f\u0085",
  "\ud800 half a pair",
  "\ufffe\uffff",
  "ünïcödé 💥 \u202e",
  "a".repeat(253),
  "__proto__",
];

/** What libvirt would read of a guest with these names, and what it is to read. */
const readBack = (namespace: string, name: string): { read: unknown; wanted: unknown } => {
  const text = domainXml(wantedDomain({ namespace, name }), host);
  const { metadata, title, ...domain } = at(parser.parse(text), "domain") as Record<string, unknown>;
  const machine = at(metadata, "vireo:machine");
  const { metadata: _m, title: _t, ...plain } = parsed() as Record<string, unknown>;
  return {
    read: {
      valid: XMLValidator.validate(text),
      title,
      namespace: at(machine, "vireo:namespace"),
      name: at(machine, "vireo:name"),
      rest: domain,
    },
    wanted: {
      valid: true,
      title: readableText(`${namespace}/${name}`),
      namespace: readableText(namespace),
      name: readableText(name),
      rest: plain,
    },
  };
};

describe("names that users chose reach libvirt as data", () => {
  test.each(hostileTexts.map((text) => [JSON.stringify(text).slice(0, 60), text]))("%s", (_what, text) => {
    for (const [namespace, name] of [["shop", text] as const, [text, "web-1"] as const]) {
      const { read, wanted } = readBack(namespace, name);
      expect(read).toEqual(wanted);
    }
  });

  test("any text at all", () => {
    const anyText = fc.string({ unit: "binary", minLength: 1 });
    fc.assert(
      fc.property(anyText, anyText, (namespace, name) => {
        const { read, wanted } = readBack(namespace, name);
        expect(read).toEqual(wanted);
      }),
    );
  });
});

describe("XML", () => {
  test.each(["/disks/a\u0000b", "/disks/\nb", "/disks/\ud800"])("does not carry the path %j", (path) => {
    const want = wantedDomain({ seedPath: path });
    expect(() => domainXml(want, host)).toThrow(RangeError);
  });

  test("carries every other path as it is", () => {
    const path = `/mnt/a & b/<"quoted">/it's/ünï  two spaces.iso`;
    const disks = at(parsed({ seedPath: path }), "devices", "disk");
    expect(at(listed(disks)[1], "source", "file")).toBe(path);
  });

  test("has no attribute for a value that is undefined", () => {
    expect(serialize(element("a", { b: undefined, c: 0 }))).toBe('<a c="0"/>');
  });
});

describe("a guest is described as", () => {
  test.each<[string, Partial<Domain>, readonly string[], unknown]>([
    ["a domain of QEMU without KVM", {}, ["type"], "qemu"],
    ["a domain of KVM", { acceleration: "kvm" }, ["type"], "kvm"],
    ["a machine's UID", {}, ["uuid"], "4dea22b3-1d52-48f3-a516-782e98ab3fa0"],
    ["so much memory", {}, ["memory"], { "#text": "512", unit: "MiB" }],
    ["so many virtual CPUs", { vcpus: 7 }, ["vcpu", "#text"], "7"],
    [
      "one socket with that many cores",
      { vcpus: 7 },
      ["cpu", "topology"],
      { sockets: "1", dies: "1", cores: "7", threads: "1" },
    ],
    ["a CPU that distributions ask for, emulated", {}, ["cpu", "model", "#text"], "Nehalem"],
    ["the node's CPU, with KVM", { acceleration: "kvm" }, ["cpu", "mode"], "host-model"],
    [
      "bounded in translated code, emulated",
      {},
      ["features", "tcg", "tb-cache"],
      { "#text": "128", unit: "MiB" },
    ],
    ["nothing of the emulator's, with KVM", { acceleration: "kvm" }, ["features", "tcg"], undefined],
    ["something with a power button", {}, ["features", "acpi"], ""],
    ["booted by BIOS", {}, ["os", "loader"], undefined],
    [
      "booted by UEFI without Secure Boot",
      { firmware: "UEFI" },
      ["os", "loader"],
      { "#text": "/usr/share/OVMF/CODE.fd", readonly: "yes", secure: "no", type: "pflash" },
    ],
    [
      "UEFI with variables of its own",
      { firmware: "UEFI" },
      ["os", "nvram"],
      { template: "/usr/share/OVMF/VARS.fd" },
    ],
    ["never started again by libvirt: power-off", {}, ["on_poweroff"], "destroy"],
    ["rebooted by itself", {}, ["on_reboot"], "restart"],
    ["never started again by libvirt: crash", {}, ["on_crash"], "destroy"],
    ["in universal time", {}, ["clock", "offset"], "utc"],
    [
      "a serial port with a log",
      {},
      ["devices", "serial", "log"],
      { file: host.consoleLogPath, append: "on" },
    ],
    ["a screen on a unix socket", {}, ["devices", "graphics", "listen", "type"], "socket"],
    ["random numbers from the node", {}, ["devices", "rng", "backend", "#text"], "/dev/urandom"],
    ["a balloon that reports", {}, ["devices", "memballoon", "stats", "period"], "10"],
    [
      "a channel for the guest agent",
      {},
      ["devices", "channel", "target"],
      { type: "virtio", name: "org.qemu.guest_agent.0" },
    ],
  ])("%s", (_what, changes, path, expected) => {
    expect(at(parsed(changes), ...path)).toEqual(expected);
  });

  test("a root disk whose whole chain and formats are named, and an image that libvirt leaves alone", () => {
    const [root, seed] = listed(at(parsed(), "devices", "disk"));
    expect(at(root, "driver")).toMatchObject({ type: "qcow2", discard: "unmap" });
    expect(at(root, "backingStore")).toEqual(
      expect.objectContaining({
        format: { type: "qcow2" },
        source: expect.objectContaining({
          file: "/var/lib/vireo/images/cirros.qcow2",
          seclabel: { model: "dac", relabel: "no" },
        }),
        backingStore: "",
      }),
    );
    expect(at(seed, "driver", "type")).toBe("raw");
    expect(at(seed, "readonly")).toBe("");
    const raw = { path: "/var/lib/vireo/images/disk.raw", format: "raw", shared: true } as const;
    const [head] = wantedDomain().rootDisk.layers;
    const [onRaw] = listed(at(parsed({ rootDisk: { layers: [head, raw] } }), "devices", "disk"));
    expect(at(onRaw, "backingStore", "format", "type")).toBe("raw");
  });

  test.each([0, 1, 8])("having eight free ports beside %d interfaces", (count) => {
    const interfaces = Array.from({ length: count }, (_, i) => ({
      network: `net-${i}`,
      tap: `vtap0000000000${i}`,
      macAddress: `02:00:00:00:00:0${i}`,
      mtu: 1400 + i,
    }));
    const domain = parsed({ interfaces });
    const ports = listed(at(domain, "devices", "controller")).filter(
      (controller) => at(controller, "model") === "pcie-root-port",
    );
    expect(ports).toHaveLength(5 + count + 8);
    const cards = listed(at(domain, "devices", "interface"));
    expect(cards.map((card) => at(card, "target"))).toEqual(
      interfaces.map(({ tap }) => ({ dev: tap, managed: "no" })),
    );
    expect(cards.map((card) => at(card, "mtu", "size"))).toEqual(interfaces.map(({ mtu }) => String(mtu)));
  });

  test("a guest with UEFI only where the node has it", () => {
    const want = wantedDomain({ firmware: "UEFI" });
    expect(() => domainXml(want, { consoleLogPath: "/a.log", consoleSocketPath: "/a.sock" })).toThrow(/UEFI/);
  });
});
