import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { ErrorCode, openLibvirt, type LibvirtClient } from "../../../src/libvirt/index.ts";
import {
  createDomains,
  createLiveDomains,
  domainEventKinds,
  type Domains,
  DomainRefusedError,
  GuestOffError,
  type LiveDomains,
  type SnapshotRequest,
} from "../../../src/node-agent/domains/index.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import type { FakeDomain } from "../../fakes/libvirt-domains.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { waitFor } from "../../testbed/wait.ts";
import { cdrom, volume, wantedDomain } from "../../unit/node-agent/domains/wanted.ts";

const signal = new AbortController().signal;
const attached = volume("a1", "VirtIO");
const want = wantedDomain({ maxVcpus: 4, maxMemoryMiB: 1024, volumes: [attached] });
const { vmUid } = want;
const data = volume("b2", "SCSI");
const disk = { kind: "disk", uid: attached.uid } as const;
const MEMORY = "/memory/saved";

const request = (changes: Partial<SnapshotRequest> = {}): SnapshotRequest => ({
  overlays: new Map([
    [vmUid, "/new/root"],
    [attached.uid, "/new/data"],
  ]),
  quiesce: "IfPossible",
  ...changes,
});

describe("a running guest, when libvirt does something else meanwhile", () => {
  let stateDirectory: string;
  let server: FakeLibvirtServer;
  let libvirt: LibvirtClient;
  let domains: Domains;
  let live: LiveDomains;

  const guest = (): FakeDomain => server.domains.byUuid(vmUid);
  const called = (procedure: (typeof server.calls)[number]): Promise<unknown> =>
    waitFor(`${procedure} was called`, () => server.waiting(procedure) >= 1, { intervalMs: 2 });
  const uidsOfDisks = async (): Promise<readonly string[]> =>
    (await domains.observe(vmUid, { signal }))?.hardware?.disks.map(({ uid }) => uid) ?? [];
  const lastCalls = (): readonly string[] => server.calls.slice(-3);
  const failNext = (procedure: (typeof server.calls)[number], code: number, message: string): void =>
    server.next(procedure, { kind: "error", code, message });

  beforeEach(async () => {
    stateDirectory = await mkdtemp(join(tmpdir(), "domains-"));
    server = await FakeLibvirtServer.start();
    const { socketPath } = server;
    libvirt = openLibvirt({ socketPath, events: domainEventKinds, backOff: { minMs: 5, maxMs: 50 } });
    domains = createDomains({ libvirt, stateDirectory, files: createFiles({ roots: [stateDirectory] }) });
    live = createLiveDomains({ libvirt });
    await libvirt.whenConnected({ signal });
    await domains.start(want, { signal });
  });
  afterEach(async () => {
    await libvirt.close();
    await server.stop();
    await rm(stateDirectory, { recursive: true });
  });

  test("a disk that two attach at the same time is attached once, for both", async () => {
    const outcomes = await Promise.all([1, 2].map(() => live.attachDisk(vmUid, data, { signal })));
    expect(outcomes).toEqual(["attached", "attached"]);
    expect((await uidsOfDisks()).filter((uid) => uid === data.uid)).toHaveLength(1);
  });

  test("an attachment whose outcome is unknown is told as such, and found done by the next", async () => {
    server.next("domainAttachDeviceFlags", { kind: "drop-after" });
    const attaching = live.attachDisk(vmUid, data, { signal });
    await expect(attaching).rejects.toMatchObject({ name: "OutcomeUnknownError" });
    await libvirt.whenConnected({ signal });
    expect(await live.attachDisk(vmUid, data, { signal })).toBe("attached");
    expect(server.calls.filter((name) => name === "domainAttachDeviceFlags")).toHaveLength(1);
  });

  test("an attachment that fails is a failure, for good when this QEMU cannot do it", async () => {
    failNext("domainAttachDeviceFlags", ErrorCode.INTERNAL_ERROR, "process busy");
    await expect(live.attachCdrom(vmUid, cdrom("d4"), { signal })).rejects.toMatchObject({
      name: "LibvirtError",
    });
    failNext("domainAttachDeviceFlags", ErrorCode.CONFIG_UNSUPPORTED, "cannot");
    await expect(live.attachCdrom(vmUid, cdrom("d4"), { signal })).rejects.toThrow(DomainRefusedError);
    expect(await live.attachCdrom(vmUid, cdrom("d4"), { signal })).toBe("attached");
  });

  test("a guest that clings to a disk has it until it lets go, which is told", async () => {
    const told: string[] = [];
    const stop = domains.onChange((uid) => told.push(uid));
    guest().clings = true;
    expect(await live.detach(vmUid, disk, { signal })).toBe("asked");
    expect(await uidsOfDisks()).toContain(attached.uid);
    expect(told).toEqual([]);
    for (const letGo of guest().heldDevices) letGo();
    await waitFor("it is told", () => told.includes(vmUid));
    expect(await live.detach(vmUid, disk, { signal })).toBe("gone");
    stop();
  });

  test.each<[string, number, string, string]>([
    [
      "is being unplugged already",
      ErrorCode.INTERNAL_ERROR,
      "Device x is already in the process of unplug",
      "asked",
    ],
    ["has gone meanwhile", ErrorCode.DEVICE_MISSING, "no device found with alias x", "gone"],
  ])("a disk that %s is no failure", async (_what, code, message, outcome) => {
    failNext("domainDetachDeviceAlias", code, message);
    expect(await live.detach(vmUid, disk, { signal })).toBe(outcome);
  });

  test("a disk that cannot be unplugged since it is being merged stays, and that is said", async () => {
    failNext("domainDetachDeviceAlias", ErrorCode.OPERATION_FAILED, "disk 'vdb' has an active block job");
    await expect(live.detach(vmUid, disk, { signal })).rejects.toThrow(/active block job/);
  });

  test.each<[string, () => void]>([
    ["ends", () => server.domains.powerOff(guest())],
    [
      "is removed",
      () => {
        const leaving = guest();
        server.domains.destroy(leaving);
        server.domains.undefine(leaving);
      },
    ],
  ])("a guest that %s just before it is looked at is off, and not as it was", async (_what, happens) => {
    const release = server.hold("domainGetXmlDesc");
    const pull = { diskUid: vmUid, kind: "pull", base: "/x" } as const;
    const looking = Promise.allSettled([
      live.merge(vmUid, pull, { signal }),
      domains.observe(vmUid, { signal }),
    ]);
    await waitFor("both look", () => server.waiting("domainGetXmlDesc") === 2, { intervalMs: 2 });
    happens();
    release();
    const [merging, observing] = await looking;
    expect(merging).toMatchObject({ status: "rejected", reason: expect.any(GuestOffError) });
    expect(observing).toEqual({ status: "fulfilled", value: { vmUid, powerState: "Running" } });
  });

  test("a guest that goes on by itself while it is told to is no failure", async () => {
    await live.suspend(vmUid, { signal });
    const release = server.hold("domainResume");
    const resuming = live.resume(vmUid, { signal });
    await called("domainResume");
    server.domains.resume(guest());
    release();
    await resuming;
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ powerState: "Running" });
  });

  test("memory is asked for by the device that libvirt knows, within its limits", async () => {
    expect(await live.setMemory(vmUid, 801, { signal })).toBe(800);
    expect((await domains.observe(vmUid, { signal }))?.hardware?.memory.requestedMiB).toBe(800);
    failNext("domainUpdateDeviceFlags", ErrorCode.OPERATION_FAILED, "busy");
    await expect(live.setMemory(vmUid, 600, { signal })).rejects.toThrow("busy");
  });

  test("a snapshot is quiesced where the guest's agent does it", async () => {
    guest().agent = () => ({});
    expect(await live.snapshot(vmUid, request(), { signal })).toEqual({
      kind: "taken",
      consistency: "Quiesced",
    });
  });

  test("a guest whose agent does not come back from freezing is thawed, and the snapshot is taken without", async () => {
    failNext("domainSnapshotCreateXml", ErrorCode.AGENT_UNRESPONSIVE, "Guest agent is not responding");
    expect(await live.snapshot(vmUid, request(), { signal })).toEqual({
      kind: "taken",
      consistency: "Online",
      quiesceFailure: "Guest agent is not responding",
    });
    expect(server.calls.slice(-3)).toContain("domainFsthaw");
  });

  test("a snapshot that fails for another reason is not taken unfrozen", async () => {
    failNext("domainSnapshotCreateXml", ErrorCode.OPERATION_FAILED, "no space");
    await expect(live.snapshot(vmUid, request(), { signal })).rejects.toThrow("no space");
    expect(server.calls.filter((name) => name === "domainSnapshotCreateXml")).toHaveLength(1);
  });

  test("a snapshot whose outcome is unknown is found taken by the next, which lets the guest go on", async () => {
    server.next("domainSnapshotCreateXml", { kind: "drop-after" });
    guest().agent = () => ({});
    const taking = live.snapshot(vmUid, request(), { signal });
    await expect(taking).rejects.toMatchObject({ name: "OutcomeUnknownError" });
    await libvirt.whenConnected({ signal });
    expect(await live.snapshot(vmUid, request(), { signal })).toEqual({ kind: "already-taken" });
    expect(lastCalls()).toContain("domainFsthaw");
  });

  test("a merge is followed, told, and begun again when it has ended without success", async () => {
    const told: string[] = [];
    const stop = domains.onChange((uid) => told.push(uid));
    guest().slowBlockJobs = true;
    const base = want.rootDisk.layers[1]?.path;
    guest().xml = guest()
      .xml.replace("<backingStore", () => "<backingStore><source file='/frozen'/><backingStore")
      .replace("</backingStore>", () => "</backingStore></backingStore>");
    const pull = { diskUid: vmUid, kind: "pull", base } as const;
    const step = () => live.merge(vmUid, pull, { signal });
    expect(await step()).toEqual({ kind: "running", progressPercent: 0 });
    const job = guest().blockJobs.get("vda");
    if (job !== undefined) job.cur = job.end / 4n;
    expect(await step()).toEqual({ kind: "running", progressPercent: 25 });
    await live.cancelMerge(vmUid, vmUid, { signal });
    await waitFor("the end is told", () => told.includes(vmUid));
    expect(await step()).toEqual({ kind: "running", progressPercent: 0 });
    expect(server.calls.filter((name) => name === "domainBlockRebase")).toHaveLength(2);
    stop();
  });

  describe("a merge that QEMU has done", () => {
    /** The disk stands on this already. */
    const pull = () => ({ diskUid: vmUid, kind: "pull", base: want.rootDisk.layers[1]?.path }) as const;
    const step = () => live.merge(vmUid, pull(), { signal });

    test("is done when QEMU has written out what it held, for which the guest stands still", async () => {
      expect(await step()).toEqual({ kind: "done" });
      expect(lastCalls()).toEqual(["domainGetState", "domainSuspend", "domainResume"]);
      expect((await domains.observe(vmUid, { signal }))?.powerState).toBe("Running");
    });

    const REFUSAL = "unable to execute QEMU command 'block-commit': ";

    /** The disk's head on a layer that is to be committed into the next. */
    const haveLayersToCommit = () => {
      guest().xml = guest()
        .xml.replace(
          "<backingStore",
          () => "<backingStore><source file='/top'/><backingStore><source file='/into'/><backingStore",
        )
        .replace("</backingStore>", () => "</backingStore></backingStore></backingStore>");
      return { diskUid: vmUid, kind: "commit", top: "/top", base: "/into" } as const;
    };

    test.each([
      ["it had written that down", "Cannot find device='' nor node-name='libvirt-151-format'"],
      ["it had QEMU close the layer", "'libvirt-151-format' is not in this backing file chain"],
    ])("is found so when libvirt was killed before %s, and names the layer for good", async (_when, said) => {
      const commit = haveLayersToCommit();
      failNext("domainBlockCommit", ErrorCode.INTERNAL_ERROR, `${REFUSAL}${said}`);
      expect(await live.merge(vmUid, commit, { signal })).toEqual({ kind: "done" });
      expect(lastCalls()).toEqual(["domainGetState", "domainSuspend", "domainResume"]);
    });

    test("is not taken for done when QEMU refuses it for another reason", async () => {
      const commit = haveLayersToCommit();
      failNext("domainBlockCommit", ErrorCode.INTERNAL_ERROR, `${REFUSAL}No space left on device`);
      await expect(live.merge(vmUid, commit, { signal })).rejects.toThrow("No space left");
    });

    test("waits for a guest that is paused, and says that a person, or one of us, has done that", async () => {
      await live.suspend(vmUid, { signal });
      expect(await step()).toEqual({ kind: "paused", byRequest: true });
      await live.resume(vmUid, { signal });
      expect(await step()).toEqual({ kind: "done" });
    });

    test("is found so again when the guest was left paused in the middle", async () => {
      failNext("domainResume", ErrorCode.OPERATION_FAILED, "no");
      await expect(step()).rejects.toThrow("no");
      expect(await step()).toEqual({ kind: "paused", byRequest: true });
    });

    test("is not given up without that either", async () => {
      await live.cancelMerge(vmUid, vmUid, { signal });
      expect(lastCalls()).toEqual(["domainGetState", "domainSuspend", "domainResume"]);
      await live.suspend(vmUid, { signal });
      await expect(live.cancelMerge(vmUid, vmUid, { signal })).rejects.toThrow("is paused");
    });
  });

  test("a guest without a disk that its memory was saved with is not started at all", async () => {
    const saved = { path: MEMORY, paused: false };
    await live.snapshot(vmUid, request({ memoryPath: MEMORY }), { signal });
    await domains.destroy(vmUid, { signal });
    const less = domains.restore({ ...want, volumes: [] }, saved, { signal });
    await expect(less).rejects.toThrow(DomainRefusedError);
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ powerState: "ShutOff" });
    await domains.restore(want, saved, { signal });
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ powerState: "Running" });
    expect(await uidsOfDisks()).toEqual([vmUid, attached.uid]);
  });

  test("a memory file that has gone is a failure", async () => {
    await domains.destroy(vmUid, { signal });
    const restoring = domains.restore(want, { path: "/gone", paused: false }, { signal });
    await expect(restoring).rejects.toThrow(/No such file/);
  });
});
