import { describe, expect, test } from "@jest/globals";
import { XMLValidator } from "fast-xml-parser";
import fc from "fast-check";

import { domainXml } from "../../../../src/node-agent/domains/domain-xml/index.ts";
import { element, readableText, serialize } from "../../../../src/node-agent/domains/domain-xml/xml.ts";
import { type Domain, DomainRefusedError } from "../../../../src/node-agent/domains/types.ts";
import { at, host, hostileTexts, listed, parsed, parser, plain } from "./parsed-domain.ts";
import { volume, wantedDomain } from "./wanted.ts";

/** What libvirt would read of a guest with these names, and what it is to read. */
const readBack = (namespace: string, name: string): { read: unknown; wanted: unknown } => {
  const text = domainXml(wantedDomain({ namespace, name }), host);
  const { metadata, title, ...domain } = at(parser.parse(text), "domain") as Record<string, unknown>;
  const machine = at(metadata, "vireo:machine");
  const { metadata: _m, title: _t, ...others } = parsed() as Record<string, unknown>;
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
      rest: others,
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
    [
      "as many as it can be given, of which some are there",
      { maxVcpus: 8 },
      ["vcpu"],
      { "#text": "8", placement: "static", current: "2" },
    ],
    [
      "with the topology that is asked for",
      { maxVcpus: 8, cpu: { topology: { sockets: 2, cores: 2, threads: 2 } } },
      ["cpu", "topology"],
      { sockets: "2", dies: "1", cores: "2", threads: "2" },
    ],
    ["no more than libvirt can lay out", { vcpus: 64, maxVcpus: 256 }, ["vcpu", "#text"], "255"],
    ["without room to grow", {}, ["maxMemory"], undefined],
    [
      "without room to grow on huge pages",
      { hugePageSize: "2Mi", maxMemoryMiB: 2048 },
      ["maxMemory"],
      undefined,
    ],
    [
      "backed by huge pages",
      { hugePageSize: "1Gi" },
      ["memoryBacking", "hugepages", "page"],
      { size: "1048576", unit: "KiB" },
    ],
    [
      "with memory to be given, counted in full",
      { maxMemoryMiB: 2049 },
      ["memory"],
      { "#text": "2048", unit: "MiB" },
    ],
    [
      "with memory that it starts with",
      { maxMemoryMiB: 2049 },
      ["currentMemory"],
      { "#text": "512", unit: "MiB" },
    ],
    [
      "with a slot for what it can be given",
      { maxMemoryMiB: 2049 },
      ["maxMemory"],
      { "#text": "2048", slots: "1", unit: "MiB" },
    ],
    [
      "with a device that nothing is asked of yet",
      { maxMemoryMiB: 2049 },
      ["devices", "memory", "target"],
      {
        size: { "#text": "1536", unit: "MiB" },
        node: "0",
        block: { "#text": "2", unit: "MiB" },
        requested: { "#text": "0", unit: "MiB" },
      },
    ],
    [
      "with that device in a node of all virtual CPUs",
      { maxMemoryMiB: 2049, maxVcpus: 8 },
      ["cpu", "numa", "cell"],
      { id: "0", cpus: "0-7", memory: "512", unit: "MiB" },
    ],
    ["a CPU that distributions ask for, emulated", {}, ["cpu", "model", "#text"], "Nehalem"],
    ["the node's CPU, with KVM", { acceleration: "kvm" }, ["cpu", "mode"], "host-model"],
    [
      "the CPU that is named, emulated as far as can be",
      { cpu: { model: "EPYC" } },
      ["cpu"],
      {
        mode: "custom",
        match: "exact",
        check: "none",
        model: { "#text": "EPYC", fallback: "forbid" },
        topology: { sockets: "1", dies: "1", cores: "2", threads: "1" },
      },
    ],
    [
      "the CPU that is named, or nothing, with KVM",
      { acceleration: "kvm", cpu: { model: "EPYC" } },
      ["cpu", "check"],
      "partial",
    ],
    [
      "all of the node's CPU, with KVM",
      { acceleration: "kvm", cpu: { model: "host-passthrough" } },
      ["cpu", "mode"],
      "host-passthrough",
    ],
    [
      "all that an emulator can do, where the node's is asked for",
      { cpu: { model: "host-passthrough" } },
      ["cpu", "mode"],
      "maximum",
    ],
    ["without a TPM", {}, ["devices", "tpm"], undefined],
    [
      "with a TPM 2.0",
      { tpm: true },
      ["devices", "tpm"],
      { model: "tpm-crb", backend: { type: "emulator", version: "2.0" } },
    ],
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
    [
      "a serial port on a socket",
      {},
      ["devices", "serial", "source"],
      { mode: "bind", path: host.consoleSocketPath },
    ],
    ["a screen on a unix socket", {}, ["devices", "graphics"], { type: "vnc", listen: { type: "socket" } }],
    [
      "a screen by SPICE on a unix socket",
      { graphics: ["SPICE"] },
      ["devices", "graphics"],
      { type: "spice", listen: { type: "socket" } },
    ],
    ["without a screen", { graphics: [] }, ["devices", "video"], undefined],
    ["random numbers from the node", {}, ["devices", "rng", "backend", "#text"], "/dev/urandom"],
    ["a balloon that reports", {}, ["devices", "memballoon", "stats", "period"], "10"],
    [
      "a channel for the guest agent",
      {},
      ["devices", "channel", "target"],
      { type: "virtio", name: "org.qemu.guest_agent.0" },
    ],
  ])("%s", (_what, changes, path, expected) => {
    expect(plain(at(parsed(changes), ...path))).toEqual(expected);
  });

  test("VNC and SPICE beside each other, SPICE with its agent's channel, where QEMU has it", () => {
    const want = wantedDomain({ graphics: ["SPICE", "VNC"] });
    const types = (domain: unknown) =>
      listed(at(domain, "devices", "graphics")).map((each) => at(each, "type"));
    const channels = (domain: unknown) =>
      listed(at(domain, "devices", "channel")).map((each) => at(each, "target", "name"));
    const with_ = at(parser.parse(domainXml(want, host)), "domain");
    expect(types(with_)).toEqual(["vnc", "spice"]);
    expect(channels(with_)).toEqual(["com.redhat.spice.0", "org.qemu.guest_agent.0"]);
    const without = at(parser.parse(domainXml(want, { ...host, spice: false })), "domain");
    expect(types(without)).toEqual(["vnc"]);
    expect(channels(without)).toEqual(["org.qemu.guest_agent.0"]);
  });

  test("nothing that its number of CPUs cannot be laid out as", () => {
    const cpu = { topology: { sockets: 2, cores: 2, threads: 1 } };
    expect(() => parsed({ vcpus: 2, cpu })).toThrow(DomainRefusedError);
    expect(() => parsed({ vcpus: 2, cpu })).toThrow(/makes 4 virtual CPUs, and the machine can have 2/);
  });

  test("words of users only as data: CPU model, paths, names of volumes and networks", () => {
    for (const text of hostileTexts) {
      const [first, ...rest] = listed(
        at(
          parsed({
            cpu: { model: readableText(text) },
            volumes: [{ ...volume("a1", "VirtIO"), name: text, bootOrder: 1 }],
            interfaces: [
              { network: text, tap: "vtap0", macAddress: "02:00:00:00:00:0b", mtu: 1450, bootOrder: 2 },
            ],
          }),
          "metadata",
          "vireo:machine",
          "vireo:setting",
        ),
      );
      expect(first).toEqual({ path: "cpu.model", value: readableText(text) });
      expect(rest).toContainEqual({ path: `volumes[${readableText(text)}].bootOrder`, value: "1" });
      expect(rest).toContainEqual({ path: `networks[${readableText(text)}].bootOrder`, value: "2" });
    }
  });

  test.each([
    [0, {}, 0],
    [1, {}, 0],
    [8, { volumes: [volume("a1", "VirtIO"), volume("b2", "SCSI")] }, 0],
    [1, { maxMemoryMiB: 1024 }, 1],
  ])("having a port for each of sixteen volumes beside %d interfaces and %j", (count, changes, others) => {
    const interfaces = Array.from({ length: count }, (_, i) => ({
      network: `net-${i}`,
      tap: `vtap0000000000${i}`,
      macAddress: `02:00:00:00:00:0${i}`,
      mtu: 1400 + i,
    }));
    const domain = parsed({ ...changes, interfaces });
    const ports = listed(at(domain, "devices", "controller")).filter(
      (controller) => at(controller, "model") === "pcie-root-port",
    );
    expect(ports).toHaveLength(5 + count + others + 16);
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
