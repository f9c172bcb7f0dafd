import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { DomainState, ErrorCode, openLibvirt, type LibvirtClient } from "../../../src/libvirt/index.ts";
import { createDomains, DomainRefusedError, type Domains } from "../../../src/node-agent/domains/index.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { waitFor } from "../../testbed/wait.ts";
import { wantedDomain } from "../../unit/node-agent/domains/wanted.ts";

const signal = new AbortController().signal;
const want = wantedDomain();
const { vmUid } = want;

describe("domains, when libvirt does something else meanwhile", () => {
  let stateDirectory: string;
  let server: FakeLibvirtServer;
  let libvirt: LibvirtClient;
  let domains: Domains;

  const called = (procedure: (typeof server.calls)[number], times: number): Promise<unknown> =>
    waitFor(`${procedure} was called`, () => server.waiting(procedure) >= times, { intervalMs: 2 });

  beforeEach(async () => {
    stateDirectory = await mkdtemp(join(tmpdir(), "domains-"));
    server = await FakeLibvirtServer.start();
    libvirt = openLibvirt({ socketPath: server.socketPath, backOff: { minMs: 5, maxMs: 50 } });
    domains = createDomains({ libvirt, stateDirectory, files: createFiles({ roots: [stateDirectory] }) });
    await libvirt.whenConnected({ signal });
  });
  afterEach(async () => {
    await libvirt.close();
    await server.stop();
    await rm(stateDirectory, { recursive: true });
  });

  test("a guest that ends by itself while it is destroyed is no failure", async () => {
    await domains.start(want, { signal });
    const release = server.hold("domainDestroyFlags");
    const destroying = domains.destroy(vmUid, { signal });
    await called("domainDestroyFlags", 1);
    server.domains.powerOff(server.domains.byUuid(vmUid));
    release();
    await destroying;
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ exit: "GuestShutdown" });
  });

  test("a guest that begins to shut down by itself while its power button is pressed is no failure", async () => {
    await domains.start(want, { signal });
    const release = server.hold("domainShutdownFlags");
    const pressing = domains.shutdown(vmUid, { signal });
    await called("domainShutdownFlags", 1);
    server.domains.byUuid(vmUid).state = DomainState.SHUTDOWN;
    release();
    await pressing;
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ vmUid, powerState: "Running" });
  });

  test.each([
    ["is shutting down already", DomainState.SHUTDOWN],
    ["is paused", DomainState.PAUSED],
    ["sleeps", DomainState.PMSUSPENDED],
  ])(
    "the power button of a guest that %s is not pressed, since libvirt refuses that",
    async (_what, state) => {
      await domains.start(want, { signal });
      server.domains.byUuid(vmUid).state = state;
      await domains.shutdown(vmUid, { signal });
      expect(server.calls).not.toContain("domainShutdownFlags");
    },
  );

  test("a guest that somebody starts meanwhile is no failure", async () => {
    const release = server.hold("domainCreateWithFlags");
    const starting = domains.start(want, { signal });
    await called("domainCreateWithFlags", 1);
    server.domains.start(server.domains.byUuid(vmUid));
    release();
    await starting;
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ vmUid, powerState: "Running" });
  });

  test("a definition that somebody removes meanwhile is no failure", async () => {
    await domains.start(want, { signal });
    const release = server.hold("domainUndefineFlags");
    const removing = domains.remove(vmUid, { signal });
    await called("domainUndefineFlags", 1);
    server.domains.undefine(server.domains.byUuid(vmUid));
    release();
    await removing;
    expect(await domains.observe(vmUid, { signal })).toBeUndefined();
  });

  test("a guest that goes while the guests are listed is left out", async () => {
    await domains.start(want, { signal });
    const release = server.hold("domainGetState");
    const listing = domains.list({ signal });
    await called("domainGetState", 1);
    const domain = server.domains.byUuid(vmUid);
    server.domains.destroy(domain);
    server.domains.undefine(domain);
    release();
    expect(await listing).toEqual([]);
  });

  test("a failure to destroy is one when the guest runs on", async () => {
    await domains.start(want, { signal });
    const message = "Failed to terminate process 42 with SIGKILL: Device or resource busy";
    server.next("domainDestroyFlags", { kind: "error", code: ErrorCode.SYSTEM_ERROR, message });
    await expect(domains.destroy(vmUid, { signal })).rejects.toMatchObject({ name: "LibvirtError", message });
  });

  test.each([
    ["the schema refuses it", ErrorCode.XML_INVALID_SCHEMA],
    ["this QEMU cannot do it", ErrorCode.CONFIG_UNSUPPORTED],
  ])("a definition is refused for good when %s", async (_why, code) => {
    server.next("domainDefineXmlFlags", { kind: "error", code, message: "unsupported configuration: x" });
    const failure = await domains.start(want, { signal }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DomainRefusedError);
    expect(String(failure)).toContain(`vireo-${vmUid}: unsupported configuration: x`);
  });

  test("a start that fails may be tried again", async () => {
    const message = "internal error: process exited while connecting to monitor";
    server.next("domainCreateWithFlags", { kind: "error", code: ErrorCode.INTERNAL_ERROR, message });
    await expect(domains.start(want, { signal })).rejects.toMatchObject({ name: "LibvirtError", message });
    await domains.start(want, { signal });
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ vmUid, powerState: "Running" });
  });

  test("a start whose outcome is unknown is told as such, and the next finds the guest running", async () => {
    server.next("domainCreateWithFlags", { kind: "drop-after" });
    await expect(domains.start(want, { signal })).rejects.toMatchObject({ name: "OutcomeUnknownError" });
    await libvirt.whenConnected({ signal });
    await domains.start(want, { signal });
    expect(server.calls.filter((name) => name === "domainCreateWithFlags")).toHaveLength(1);
    expect(await domains.observe(vmUid, { signal })).toMatchObject({ vmUid, powerState: "Running" });
  });

  test("a guest with UEFI is refused on a node that has none, with what to do", async () => {
    const starting = domains.start(wantedDomain({ firmware: "UEFI" }), { signal });
    await expect(starting).rejects.toThrow(DomainRefusedError);
    await expect(starting).rejects.toThrow(/install it \(Debian: ovmf\)/);
    expect(await domains.observe(vmUid, { signal })).toBeUndefined();
  });
});
