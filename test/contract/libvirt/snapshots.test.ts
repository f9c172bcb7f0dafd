import { randomUUID } from "node:crypto";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import {
  connectLibvirt,
  DomainRunningReason,
  DomainSaveRestoreFlags,
  DomainSnapshotCreateFlags,
  DomainState,
  ErrorCode,
  type LibvirtConnection,
} from "../../../src/libvirt/index.ts";
import { daemonKinds, type TestDaemon } from "./daemons.ts";
import { AGENT_CHANNEL, diskXml, guestXml, SCSI_CONTROLLER, sourceOf } from "./guest-xml.ts";

const { DISK_ONLY, NO_METADATA, ATOMIC, QUIESCE } = DomainSnapshotCreateFlags;
const MEMORY = "/var/lib/libvirt/images/memory";

describe.each(daemonKinds)("$name", (kind) => {
  let daemon: TestDaemon;
  let libvirt: LibvirtConnection;

  beforeAll(async () => {
    daemon = await kind.start();
    libvirt = await connectLibvirt({ socketPath: daemon.socketPath });
  });

  afterAll(async () => {
    await libvirt.close();
    await daemon.stop();
  });

  afterEach(async () => {
    for (const domain of await libvirt.listDomains()) {
      if (domain.id !== -1) await libvirt.destroyDomain(domain);
      if ((await libvirt.lookupDomain(domain.uuid)) !== undefined) await libvirt.undefineDomain(domain);
    }
  });

  const start = async (devices = "") =>
    libvirt.startDomain(await libvirt.defineDomain(guestXml("guest", randomUUID(), devices)));

  test("a domain is saved to a file, which tells which domain it is, and is restored from it", async () => {
    await daemon.image("any", { sizeMib: 1 });
    const domain = await start();
    await libvirt.saveDomain(domain, MEMORY);
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.SHUTOFF);
    expect(await libvirt.saveImageXml(MEMORY)).toContain(domain.uuid);
    await libvirt.restoreDomain(MEMORY);
    expect(await libvirt.domainState(domain)).toEqual({
      state: DomainState.RUNNING,
      reason: DomainRunningReason.RESTORED,
    });
  });

  test("a domain is restored paused when that is asked for", async () => {
    await daemon.image("any", { sizeMib: 1 });
    const domain = await start();
    await libvirt.saveDomain(domain, MEMORY);
    await libvirt.restoreDomain(MEMORY, { flags: DomainSaveRestoreFlags.PAUSED });
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.PAUSED);
  });

  test("a snapshot with memory is restored over other images than those it was taken of", async () => {
    const before = await daemon.image("before", { sizeMib: 1 });
    const domain = await start(SCSI_CONTROLLER + diskXml(before, "sda"));
    const after = "/var/lib/libvirt/images/after.qcow2";
    const disk = `<disk name='sda' snapshot='external'><driver type='qcow2'/><source file='${after}'/></disk>`;
    const memory = `<memory snapshot='external' file='${MEMORY}'/>`;
    const xml = `<domainsnapshot><name>one</name>${memory}<disks>${disk}</disks></domainsnapshot>`;
    expect(await libvirt.createSnapshot(domain, xml, { flags: NO_METADATA | ATOMIC })).toBe("one");
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.RUNNING);
    const running = await libvirt.domainXml(domain);
    expect(sourceOf(running, "sda")).toBe(after);

    await libvirt.destroyDomain(domain);
    const again = await daemon.image("again", { sizeMib: 1, backing: before });
    const saved = await libvirt.saveImageXml(MEMORY);
    const xmlNow = saved.replace(sourceOf(saved, "sda") ?? "the disk of the snapshot", again);
    await libvirt.restoreDomain(MEMORY, { xml: xmlNow });
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.RUNNING);
    expect(sourceOf(await libvirt.domainXml(domain), "sda")).toBe(again);
  });

  test("the XML in the file can be replaced", async () => {
    await daemon.image("any", { sizeMib: 1 });
    const domain = await start();
    await libvirt.saveDomain(domain, MEMORY);
    const saved = await libvirt.saveImageXml(MEMORY);
    const renewed = saved.replace("</name>", "</name><title>renewed</title>");
    await libvirt.defineSaveImageXml(MEMORY, renewed, { flags: DomainSaveRestoreFlags.PAUSED });
    expect(await libvirt.saveImageXml(MEMORY)).toContain("<title>renewed</title>");
  });

  test.each<[string, () => Promise<unknown>, number]>([
    ["a file that is not there", () => libvirt.restoreDomain(`${MEMORY}-none`), ErrorCode.SYSTEM_ERROR],
    [
      "to freeze the file systems of a guest without a channel for the agent",
      async () => libvirt.freezeFileSystems(await start()),
      ErrorCode.ARGUMENT_UNSUPPORTED,
    ],
    [
      "to thaw those of a guest whose agent does not run",
      async () => libvirt.thawFileSystems(await start(AGENT_CHANNEL)),
      ErrorCode.AGENT_UNRESPONSIVE,
    ],
    [
      "a snapshot at rest when no agent runs",
      async () => {
        const disks = SCSI_CONTROLLER + diskXml(await daemon.image("restless", { sizeMib: 1 }), "sda");
        const domain = await start(disks + AGENT_CHANNEL);
        const flags = DISK_ONLY | NO_METADATA | ATOMIC | QUIESCE;
        return libvirt.createSnapshot(domain, "<domainsnapshot/>", { flags });
      },
      ErrorCode.AGENT_UNRESPONSIVE,
    ],
  ])("refuses %s", async (_, action, code) => {
    await expect(action()).rejects.toMatchObject({ name: "LibvirtError", code });
  });
});
