import { randomUUID } from "node:crypto";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import {
  connectLibvirt,
  DomainDeviceModifyFlags,
  DomainMemoryModFlags,
  DomainVcpuFlags,
  ErrorCode,
  type DomainRef,
  type LibvirtConnection,
} from "../../../src/libvirt/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { daemonKinds, type TestDaemon } from "./daemons.ts";
import { diskXml, guestXml, interfaceXml, SCSI_CONTROLLER, sourceOf } from "./guest-xml.ts";

const LIVE = { flags: DomainDeviceModifyFlags.LIVE };
const MAC = "52:54:00:00:00:01";
const MIB = 1_048_576n;

describe.each(daemonKinds)("$name", (kind) => {
  let daemon: TestDaemon;
  let libvirt: LibvirtConnection;
  const removed: string[] = [];

  beforeAll(async () => {
    daemon = await kind.start();
    libvirt = await connectLibvirt({ socketPath: daemon.socketPath });
    await libvirt.subscribe("deviceRemoved", ({ deviceAlias }) => removed.push(deviceAlias));
  });

  afterAll(async () => {
    await libvirt.close();
    await daemon.stop();
  });

  afterEach(async () => {
    removed.length = 0;
    for (const domain of await libvirt.listDomains()) await libvirt.destroyDomain(domain);
  });

  const start = (devices = SCSI_CONTROLLER): Promise<DomainRef> =>
    libvirt.createTransientDomain(
      guestXml("guest", randomUUID(), devices)
        .replace("<os>", "<vcpu current='1'>2</vcpu><os>")
        // Without ACPI, PCI devices stay for ever.
        .replace("<devices>", "<features><acpi/></features><devices>"),
    );
  const isGone = (alias: string) =>
    waitFor(`the event that ${alias} has gone`, () => removed.includes(alias));

  test("attaches a disk to a running guest and detaches it, and an event tells when it has gone", async () => {
    const domain = await start();
    const image = await daemon.image("data", { sizeMib: 1 });
    const disk = diskXml(image, "sdb", { alias: "ua-data" });
    await libvirt.attachDevice(domain, disk, LIVE);
    expect(sourceOf(await libvirt.domainXml(domain), "sdb")).toBe(image);
    await libvirt.detachDevice(domain, disk, LIVE);
    await isGone("ua-data");
    expect(sourceOf(await libvirt.domainXml(domain), "sdb")).toBeUndefined();
    const again = libvirt.detachDevice(domain, disk, LIVE);
    await expect(again).rejects.toMatchObject({ code: ErrorCode.DEVICE_MISSING });
  });

  test("attaches no second disk in the place of one", async () => {
    const image = await daemon.image("first", { sizeMib: 1 });
    const domain = await start(diskXml(image, "vda", { bus: "virtio" }));
    const another = diskXml(await daemon.image("second", { sizeMib: 1 }), "vda", { bus: "virtio" });
    const attached = libvirt.attachDevice(domain, another, LIVE);
    await expect(attached).rejects.toMatchObject({ code: ErrorCode.XML_ERROR });
  });

  test("detaches a network interface by its alias, and knows none of another alias", async () => {
    const domain = await start();
    await libvirt.attachDevice(domain, interfaceXml(MAC), LIVE);
    expect(await libvirt.domainXml(domain)).toContain(MAC);
    await libvirt.detachDeviceAlias(domain, "ua-nic", LIVE);
    await isGone("ua-nic");
    expect(await libvirt.domainXml(domain)).not.toContain(MAC);
    const another = libvirt.detachDeviceAlias(domain, "ua-other", LIVE);
    await expect(another).rejects.toMatchObject({ code: ErrorCode.INTERNAL_ERROR });
  });

  test("takes it for no error that a guest keeps a device, and leaves it there", async () => {
    const image = await daemon.image("kept", { sizeMib: 1 });
    const domain = await start(diskXml(image, "vda", { bus: "virtio", alias: "ua-kept" }));
    daemon.cling(domain);
    await libvirt.detachDeviceAlias(domain, "ua-kept", LIVE);
    expect(sourceOf(await libvirt.domainXml(domain), "vda")).toBe(image);
    expect(removed).toEqual([]);
  });

  test("changes what may change of a device", async () => {
    const domain = await start();
    await libvirt.attachDevice(domain, interfaceXml(MAC), LIVE);
    await libvirt.updateDevice(domain, interfaceXml(MAC, { link: "down" }), LIVE);
    expect(await libvirt.domainXml(domain)).toContain("<link state='down'/>");
    const stranger = libvirt.updateDevice(domain, interfaceXml("52:54:00:00:00:02", { alias: "ua-x" }), LIVE);
    await expect(stranger).rejects.toMatchObject({ code: ErrorCode.DEVICE_MISSING });
  });

  test("gives a running guest as many vCPUs as it may have, and no more", async () => {
    const domain = await start();
    const live = { flags: DomainVcpuFlags.LIVE };
    expect(await libvirt.vcpus(domain, live)).toBe(1);
    expect(await libvirt.vcpus(domain, { flags: DomainVcpuFlags.LIVE | DomainVcpuFlags.MAXIMUM })).toBe(2);
    await libvirt.setVcpus(domain, 2, live);
    expect(await libvirt.vcpus(domain, live)).toBe(2);
    await expect(libvirt.setVcpus(domain, 3, live)).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
  });

  test("sets the balloon of a running guest to what it may have, and to no more", async () => {
    const domain = await start();
    const live = { flags: DomainMemoryModFlags.LIVE };
    await libvirt.setMemory(domain, 16_384n, live);
    const more = libvirt.setMemory(domain, 65_536n, live);
    await expect(more).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
  });

  test("makes a disk larger while the guest runs", async () => {
    const domain = await start(SCSI_CONTROLLER + diskXml(await daemon.image("grows", { sizeMib: 1 }), "sda"));
    await libvirt.blockResize(domain, "sda", 3n * MIB);
    expect(await libvirt.blockInfo(domain, "sda")).toMatchObject({ capacityBytes: 3n * MIB });
    const other = libvirt.blockResize(domain, "sdb", MIB);
    await expect(other).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
  });

  describe("a screenshot", () => {
    const SCREEN = "<video><model type='vga'/></video>";
    const magic: Readonly<Record<string, string>> = {
      "image/png": "\u0089PNG",
      "image/x-portable-pixmap": "P6\n",
    };

    test("is an image of the type that is named", async () => {
      const domain = await start(SCREEN);
      const { mimeType, bytes } = await libvirt.screenshot(domain);
      const beginning = magic[mimeType] ?? "an image of a known type";
      expect(bytes.toString("latin1", 0, beginning.length)).toBe(beginning);
    });

    test("may be taken many times at once", async () => {
      const domain = await start(SCREEN);
      const shots = await Promise.all(Array.from({ length: 8 }, () => libvirt.screenshot(domain)));
      for (const { bytes } of shots) expect(bytes.length).toBeGreaterThan(0);
    });

    test("that is larger than wanted is refused, and the connection goes on", async () => {
      const domain = await start(SCREEN);
      const small = libvirt.screenshot(domain, { maxBytes: 4 });
      await expect(small).rejects.toMatchObject({ name: "StreamLimitError" });
      expect((await libvirt.screenshot(domain)).bytes.length).toBeGreaterThan(4);
    });

    test("that nobody wants any more is given up, and the connection goes on", async () => {
      const domain = await start(SCREEN);
      const controller = new AbortController();
      const unwanted = libvirt.screenshot(domain, { signal: controller.signal });
      controller.abort();
      await expect(unwanted).rejects.toMatchObject({ name: "OutcomeUnknownError", reason: "aborted" });
      expect((await libvirt.screenshot(domain)).bytes.length).toBeGreaterThan(0);
    });

    test("of a guest that does not run is an error", async () => {
      const domain = await start(SCREEN);
      await libvirt.destroyDomain(domain);
      await expect(libvirt.screenshot(domain)).rejects.toMatchObject({ code: ErrorCode.NO_DOMAIN });
    });
  });
});
