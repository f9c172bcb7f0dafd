import { describe, expect, test } from "@jest/globals";

import { domainXml } from "../../../../src/node-agent/domains/domain-xml/index.ts";
import { find, findAll, parseXml } from "../../../../src/node-agent/domains/domain-xml/xml.ts";
import { hardwareOf } from "../../../../src/node-agent/domains/hardware.ts";
import { withPartsOf } from "../../../../src/node-agent/domains/saved-domain.ts";
import { type Domain, DomainRefusedError } from "../../../../src/node-agent/domains/types.ts";
import { cdrom, volume, wantedDomain } from "./wanted.ts";

const then = { consoleLogPath: "/then.log", consoleSocketPath: "/then.sock", spice: true };
const now = { consoleLogPath: "/now.log", consoleSocketPath: "/now.sock", spice: true };

const parts: Partial<Domain> = {
  volumes: [volume("a1", "VirtIO")],
  cdroms: [cdrom("d4")],
  graphics: ["VNC"],
};
const saved = parseXml(domainXml(wantedDomain({ ...parts, vcpus: 1, memoryMiB: 256 }), then));

const newLayers = (path: string) => [{ path, format: "qcow2" }] as const;
/** The same machine on other files of the node, and resized meanwhile. */
const want = wantedDomain({
  rootDisk: { layers: newLayers("/new/root") },
  volumes: [{ ...volume("a1", "VirtIO"), layers: newLayers("/new/a1") }],
  cdroms: [{ ...cdrom("d4"), path: "/new/iso" }],
  seedPath: "/new/seed",
  interfaces: [{ network: "blue", tap: "vtapnew", macAddress: "02:00:00:00:00:0B", mtu: 1450 }],
  vcpus: 4,
  memoryMiB: 1024,
});

describe("a guest whose memory was saved", () => {
  const rewritten = withPartsOf(saved, want, now);

  test("goes on with today's files and taps", () => {
    const { disks, interfaces } = hardwareOf(rewritten, want.vmUid);
    expect(disks.map(({ layers }) => layers)).toEqual([["/new/root"], ["/new/iso"], ["/new/a1"]]);
    const files = findAll(rewritten, "devices", "disk", "source").map(({ attributes }) => attributes["file"]);
    expect(files).toContain("/new/seed");
    expect(interfaces.map(({ tap }) => tap)).toEqual(["vtapnew"]);
    expect(find(rewritten, "devices", "serial", "source")?.attributes["path"]).toBe("/now.sock");
    expect(find(rewritten, "devices", "serial", "log")?.attributes["file"]).toBe("/now.log");
  });

  test("keeps the hardware that it had then", () => {
    const { vcpus, memory, settings } = hardwareOf(rewritten, want.vmUid);
    expect({ vcpus, memory, settings }).toEqual(
      (({ vcpus, memory, settings }) => ({ vcpus, memory, settings }))(hardwareOf(saved, want.vmUid)),
    );
    const names = (xml: typeof saved) =>
      findAll(xml, "devices").flatMap(({ children }) =>
        children.map((child) => (typeof child === "string" ? child : child.name)),
      );
    expect(names(rewritten)).toEqual(names(saved));
  });

  test("gets new sockets from libvirt, not those of its former run", () => {
    const old = parseXml(`<domain><devices>
      <graphics type='vnc' socket='/old/vnc.sock'><listen type='socket' socket='/old/vnc.sock'/></graphics>
      <console type='unix'><source mode='bind' path='/then.sock'/></console>
    </devices></domain>`);
    expect(find(withPartsOf(old, want, now), "devices")?.children).toEqual([
      {
        name: "graphics",
        attributes: { type: "vnc" },
        children: [{ name: "listen", attributes: { type: "socket" }, children: [] }],
      },
    ]);
  });

  test.each<[string, Partial<Domain>, RegExp]>([
    ["a volume", { volumes: [] }, /disk ua-disk-5dea22b3-1d52-48f3-a516-782e98ab3fa1/],
    ["a CD-ROM", { cdroms: [] }, /disk ua-cdrom-5dea22b3-1d52-48f3-a516-782e98ab3fd4/],
    ["a card", { interfaces: [] }, /a card 02:00:00:00:00:0b/],
  ])("does not go on without %s that it had", (_what, changes, message) => {
    const act = () => withPartsOf(saved, { ...want, ...changes }, now);
    expect(act).toThrow(DomainRefusedError);
    expect(act).toThrow(message);
  });
});
