import { expect, test } from "@jest/globals";
import { arrivingDomain } from "../../../../src/node-agent/domains/arriving-domain.ts";
import { wantedDomain } from "./wanted.ts";

const host = { consoleLogPath: "/here/console.log", consoleSocketPath: "/here/console.sock" };
const want = wantedDomain({
  rootDisk: { layers: [{ path: "/here/root.qcow2", format: "qcow2" }] },
  seedPath: "/here/seed.iso",
});

/** A running guest as another node tells of it, with more devices and elements if the test wants. */
const running = ({ devices = "", elements = "", machine = "pc-q35-7.2" } = {}): string => `
<domain type="qemu" id="7">
  <name>someone-else</name><uuid>00000000-0000-0000-0000-000000000000</uuid>
  <memory unit="KiB">524288</memory><vcpu placement="static" current="1">2</vcpu>
  <os><type arch="x86_64" machine="${machine}">hvm</type><loader>/there/evil.fd</loader><nvram>/there/passwd</nvram></os>
  <cpu mode="custom" match="exact"><model fallback="forbid">Nehalem</model></cpu>
  <on_crash>destroy</on_crash>
  <seclabel type="none"/>${elements}
  <devices>
    <emulator>/there/evil</emulator>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2"/>
      <source file="/there/root.qcow2"/><backingStore/>
      <target dev="vda" bus="virtio"/><serial>4dea22b31d5248f3a516</serial>
      <alias name="ua-disk-${want.vmUid}"/>
      <address type="pci" domain="0x0000" bus="0x04" slot="0x00" function="0x0"/>
    </disk>
    <interface type="ethernet">
      <mac address="02:00:00:00:00:0b"/><target dev="there0"/><script path="/there/up"/><model type="virtio"/>
      <alias name="net0"/><address type="pci" domain="0x0000" bus="0x01" slot="0x00" function="0x0"/>
    </interface>
    <rng model="virtio"><backend model="random">/there/key</backend></rng>
    <serial type="unix"><source mode="bind" path="/there/sock"/><target type="isa-serial" port="0"/></serial>
    <graphics type="vnc" socket="/there/vnc"/>${devices}
  </devices>
</domain>`;

test("the guest keeps its hardware where it sees it, on this node's files, tap and sockets", () => {
  const { xml, hardware } = arrivingDomain(running(), want, host);
  expect(xml).toContain(`<name>vireo-${want.vmUid}</name>`);
  expect(xml).toContain('machine="pc-q35-7.2"');
  expect(xml).toContain('bus="0x04"');
  expect(xml).toContain('<source file="/here/root.qcow2"');
  expect(xml).toContain('dev="vtap0123456789a"');
  expect(xml).toContain("/here/console.sock");
  expect(hardware.disks).toEqual([
    { kind: "disk", uid: want.vmUid, bus: "VirtIO", target: "vda", layers: ["/here/root.qcow2"] },
  ]);
  expect(hardware.vcpus).toEqual({ current: 1, maximum: 2 });
});

test.each([
  ["nothing of the other host", {}],
  ["no device that we do not know", { devices: "<filesystem><source dir='/there'/></filesystem>" }],
  [
    "no host device",
    { devices: "<hostdev mode='subsystem'><source><address bus='0x00'/></source></hostdev>" },
  ],
  [
    "no words for QEMU's command line",
    { elements: "<qemu:commandline><qemu:arg value='/there'/></qemu:commandline>" },
  ],
  ["no path in the place of a word", { devices: "<video><model type='/there/model'/></video>" }],
  ["no path in the place of a number", { elements: "<maxMemory>/there/many</maxMemory>" }],
])("%s comes with it", (_what, more) => {
  const { xml } = arrivingDomain(running(more), want, host);
  expect(xml).not.toMatch(/\/there|seclabel|hostdev|filesystem|commandline|emulator|net0|someone-else/);
});

test.each([
  ["another kind of machine", running({ machine: "microvm" })],
  [
    "a disk that the machine does not have",
    running({
      devices:
        '<disk type="file" device="disk"><alias name="ua-disk-00000000-0000-0000-0000-000000000001"/></disk>',
    }),
  ],
])("%s is refused", (_what, xml) => {
  expect(() => arrivingDomain(xml, want, host)).toThrow(
    expect.objectContaining({ name: "DomainRefusedError" }),
  );
});
