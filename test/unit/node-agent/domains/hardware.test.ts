import { describe, expect, test } from "@jest/globals";

import { domainXml } from "../../../../src/node-agent/domains/domain-xml/index.ts";
import { parseXml } from "../../../../src/node-agent/domains/domain-xml/xml.ts";
import {
  freePortsIn,
  hardwareOf,
  isLive,
  sharedLayersIn,
  targetsIn,
} from "../../../../src/node-agent/domains/hardware.ts";
import { restartSettings } from "../../../../src/node-agent/domains/settings.ts";
import type { Domain } from "../../../../src/node-agent/domains/types.ts";
import { cdrom, volume, wantedDomain } from "./wanted.ts";

const host = { consoleLogPath: "/console.log", consoleSocketPath: "/console.sock" };

const described = (changes: Partial<Domain> = {}) => parseXml(domainXml(wantedDomain(changes), host));
const hardware = (changes: Partial<Domain> = {}) => hardwareOf(described(changes), wantedDomain().vmUid);

describe("of a guest it is read", () => {
  test("which disks and CD-ROMs it has, of which layers, and not the seed", () => {
    const a1 = volume("a1", "SCSI");
    const d4 = cdrom("d4");
    const { vmUid, rootDisk } = wantedDomain();
    expect(hardware({ volumes: [a1], cdroms: [d4] }).disks).toEqual([
      {
        kind: "disk",
        uid: vmUid,
        bus: "VirtIO",
        target: "vda",
        layers: rootDisk.layers.map(({ path }) => path),
      },
      { kind: "cdrom", uid: d4.uid, bus: "SCSI", target: "sdb", layers: [d4.path] },
      { kind: "disk", uid: a1.uid, bus: "SCSI", target: "sdc", layers: a1.layers.map(({ path }) => path) },
    ]);
  });

  test("which cards it has", () => {
    const [{ tap, macAddress } = { tap: "", macAddress: "" }] = wantedDomain().interfaces;
    expect(hardware().interfaces).toEqual([{ tap, macAddress }]);
  });

  test.each<[string, Partial<Domain>, ReturnType<typeof hardware>["vcpus"]]>([
    ["all", { vcpus: 3 }, { current: 3, maximum: 3 }],
    ["some", { vcpus: 3, maxVcpus: 12 }, { current: 3, maximum: 12 }],
  ])("that %s of its vCPUs are plugged", (_what, changes, expected) => {
    expect(hardware(changes).vcpus).toEqual(expected);
  });

  test("how much memory it has, and can be given", () => {
    expect(hardware({ memoryMiB: 512 }).memory).toEqual({
      initialMiB: 512,
      currentMiB: 512,
      requestedMiB: 512,
      maximumMiB: 512,
      blockMiB: 1,
    });
    expect(hardware({ memoryMiB: 513, maxMemoryMiB: 1024 }).memory).toEqual({
      initialMiB: 513,
      currentMiB: 513,
      requestedMiB: 513,
      maximumMiB: 1023,
      blockMiB: 2,
    });
  });

  test("how much it was asked to take, and has taken, in libvirt's units", () => {
    const xml = parseXml(`<domain id='3'>
      <memory unit='KiB'>2097152</memory>
      <vcpu placement='static' current='1'>4</vcpu>
      <devices>
        <memory model='virtio-mem'>
          <target>
            <size unit='KiB'>1048576</size><node>0</node><block unit='KiB'>2048</block>
            <requested unit='KiB'>524288</requested><current unit='KiB'>262144</current>
          </target>
          <alias name='ua-memory'/>
        </memory>
      </devices>
    </domain>`);
    expect(hardwareOf(xml, wantedDomain().vmUid).memory).toEqual({
      initialMiB: 1024,
      currentMiB: 1280,
      requestedMiB: 1536,
      maximumMiB: 2048,
      blockMiB: 2,
    });
    expect(isLive(xml)).toBe(true);
    expect(isLive(described())).toBe(false);
  });

  test("what it was started with of that which only a start changes", () => {
    const changes: Partial<Domain> = { cpu: { model: `"'><&` }, cdroms: [{ ...cdrom("d4"), bootOrder: 3 }] };
    expect(hardware(changes).settings).toEqual(restartSettings(wantedDomain(changes)));
  });

  test("its one disk, of a guest that an agent of before has started, and nothing of its settings", () => {
    const xml = parseXml(`<domain id='1'><memory unit='KiB'>65536</memory><vcpu>1</vcpu><devices>
      <disk type='file' device='disk'>
        <source file='/disks/root.qcow2' index='2'/>
        <backingStore type='file'><format type='qcow2'/><source file='/images/x'/><backingStore/></backingStore>
        <target dev='vda' bus='virtio'/><alias name='virtio-disk0'/>
      </disk>
      <disk type='file' device='cdrom'><source file='/seed.iso'/><target dev='sda' bus='scsi'/></disk>
    </devices></domain>`);
    const { disks, settings } = hardwareOf(xml, "uid");
    expect(disks).toEqual([
      { kind: "disk", uid: "uid", bus: "VirtIO", target: "vda", layers: ["/disks/root.qcow2", "/images/x"] },
    ]);
    expect(settings).toBeUndefined();
    expect(targetsIn(xml)).toEqual(["vda", "sda"]);
  });

  test("which of its layers are other guests' too", () => {
    expect(sharedLayersIn(described({ cdroms: [cdrom("d4")] }))).toEqual(
      new Set(["/var/lib/vireo/images/cirros.qcow2", cdrom("d4").path]),
    );
  });

  test("how many ports are free", () => {
    const ports = (addresses: readonly string[]) => `<domain><devices>
      <controller type='pci' index='0' model='pcie-root'/>
      <controller type='pci' index='1' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x01'/></controller>
      <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x01'/></controller>
      <controller type='pci' index='16' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x02'/></controller>
      ${addresses.map((address) => `<disk>${address}</disk>`).join("")}
    </devices></domain>`;
    const free = (...addresses: readonly string[]) => freePortsIn(parseXml(ports(addresses)));
    expect(free()).toBe(3);
    expect(free("<address type='pci' bus='0x10' slot='0x00'/>")).toBe(2);
    expect(free("<address type='drive' bus='1' target='2'/>", "<address type='pci' bus='0x02'/>")).toBe(2);
  });

  test.each([
    ["<domain><memory unit='KiB'>much</memory><vcpu>1</vcpu></domain>", /"much" for <memory>/],
    ["<domain><memory unit='furlong'>1</memory><vcpu>1</vcpu></domain>", /in furlong/],
    ["<domain><memory unit='KiB'>1024</memory></domain>", /"" for <vcpu>/],
  ])("nothing that libvirt does not say: %s", (xml, message) => {
    expect(() => hardwareOf(parseXml(xml), "uid")).toThrow(message);
  });
});
