import { randomUUID } from "node:crypto";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import {
  connectLibvirt,
  DomainCreateFlags,
  DomainEventDefinedDetail,
  DomainEventStartedDetail,
  DomainEventStoppedDetail,
  DomainEventType,
  DomainEventUndefinedDetail,
  DomainPausedReason,
  DomainRunningReason,
  DomainShutoffReason,
  DomainState,
  ErrorCode,
  procedures,
  type DomainLifecycleEvent,
  type LibvirtConnection,
} from "../../../src/libvirt/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { daemonKinds, type TestDaemon } from "./daemons.ts";
import { AGENT_CHANNEL, guestXml } from "./guest-xml.ts";

const PING = JSON.stringify({ execute: "guest-ping" });
const NOBODY = "00000000-0000-4000-8000-000000000000";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

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

  const define = (name = "guest") => libvirt.defineDomain(guestXml(name));

  test("tells about itself and its host", async () => {
    expect(await libvirt.versions()).toEqual({
      libvirt: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      hypervisor: expect.stringMatching(/^\d+\.\d+\.\d+$/),
    });
    expect(await libvirt.hostname()).not.toBe("");
    expect(await libvirt.capabilities()).toMatch(/<capabilities>[^]*<\/capabilities>/);
    expect(await libvirt.domainCapabilities({ arch: "x86_64", type: "qemu" })).toContain(
      "<domainCapabilities>",
    );
    const node = await libvirt.nodeInfo();
    expect(node).toMatchObject({ model: "x86_64", memoryKib: expect.any(BigInt) });
    for (const count of [node.cpus, node.numaNodes, node.sockets, node.cores, node.threads]) {
      expect(count).toBeGreaterThanOrEqual(1);
    }
  });

  test("keeps a defined domain, which runs in no process and has state shut off", async () => {
    const uuid = randomUUID();
    const defined = await libvirt.defineDomain(guestXml("guest", uuid));
    expect(defined).toEqual({ name: "guest", uuid, id: -1 });
    expect(await libvirt.listDomains()).toEqual([defined]);
    expect(await libvirt.lookupDomain(uuid)).toEqual(defined);
    expect(await libvirt.lookupDomainByName("guest")).toEqual(defined);
    expect(await libvirt.domainState(defined)).toEqual({
      state: DomainState.SHUTOFF,
      reason: DomainShutoffReason.UNKNOWN,
    });
    expect(await libvirt.domainXml(defined, { inactive: true })).toContain(`<uuid>${uuid}</uuid>`);
  });

  test("gives a domain without a UUID one", async () => {
    const { uuid } = await libvirt.defineDomain(guestXml("guest").replace(/<uuid>.*<\/uuid>/, ""));
    expect(uuid).toMatch(UUID);
  });

  test("changes the definition of a domain that it knows, and keeps one domain", async () => {
    const uuid = randomUUID();
    await libvirt.defineDomain(guestXml("guest", uuid));
    await libvirt.defineDomain(guestXml("guest", uuid).replace(">32<", ">48<"));
    const [domain] = await libvirt.listDomains();
    expect(await libvirt.listDomains()).toHaveLength(1);
    expect(domain?.uuid).toBe(uuid);
    expect(await libvirt.domainXml({ name: "", uuid, id: -1 })).toMatch(/>(48|49152)</);
  });

  test("takes a domain through its life, with a state and a reason for each step", async () => {
    const defined = await define();
    const started = await libvirt.startDomain(defined);
    expect(started.id).toBeGreaterThan(0);
    const stateOf = () => libvirt.domainState(defined);
    expect(await stateOf()).toEqual({ state: DomainState.RUNNING, reason: DomainRunningReason.BOOTED });
    expect(await libvirt.lookupDomain(defined.uuid)).toEqual(started);

    await libvirt.suspendDomain(started);
    expect(await stateOf()).toEqual({ state: DomainState.PAUSED, reason: DomainPausedReason.USER });
    await libvirt.resumeDomain(started);
    expect(await stateOf()).toEqual({ state: DomainState.RUNNING, reason: DomainRunningReason.UNPAUSED });

    await libvirt.destroyDomain(started);
    expect(await stateOf()).toEqual({ state: DomainState.SHUTOFF, reason: DomainShutoffReason.DESTROYED });
    const restarted = await libvirt.startDomain(defined);
    expect(restarted.id).toBeGreaterThan(started.id);
    await libvirt.destroyDomain(restarted);

    await libvirt.undefineDomain(defined);
    expect(await libvirt.lookupDomain(defined.uuid)).toBeUndefined();
    expect(await libvirt.listDomains()).toEqual([]);
  });

  test("starts a domain paused when told so", async () => {
    const domain = await define();
    await libvirt.startDomain(domain, { flags: DomainCreateFlags.PAUSED });
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.PAUSED);
  });

  test("takes requests to power off and to reboot without waiting for the guest", async () => {
    const domain = await define();
    await libvirt.startDomain(domain);
    await libvirt.rebootDomain(domain);
    await libvirt.shutdownDomain(domain);
    expect(await libvirt.lookupDomain(domain.uuid)).toBeDefined();
  });

  test("forgets a transient domain when it ends", async () => {
    const domain = await libvirt.createTransientDomain(guestXml("passing"));
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.RUNNING);
    await libvirt.destroyDomain(domain);
    expect(await libvirt.lookupDomain(domain.uuid)).toBeUndefined();
  });

  test("keeps a running domain running when it is undefined", async () => {
    const domain = await libvirt.startDomain(await define());
    await libvirt.undefineDomain(domain);
    expect((await libvirt.domainState(domain)).state).toBe(DomainState.RUNNING);
    await libvirt.destroyDomain(domain);
    expect(await libvirt.lookupDomain(domain.uuid)).toBeUndefined();
  });

  test("has statistics of all domains in one call", async () => {
    const running = await libvirt.startDomain(await define("running"));
    const stopped = await define("stopped");
    const all = await libvirt.domainStats();
    const stateOf = (uuid: string) =>
      all.find(({ domain }) => domain.uuid === uuid)?.stats.get("state.state");
    expect(stateOf(running.uuid)).toBe(DomainState.RUNNING);
    expect(stateOf(stopped.uuid)).toBe(DomainState.SHUTOFF);
    const one = await libvirt.domainStats({ domains: [stopped], types: 1 });
    expect(one.map(({ domain }) => domain.name)).toEqual(["stopped"]);
  });

  test("calls procedures that have no verb", async () => {
    const dom = await define();
    const autostart = async () => (await libvirt.call(procedures.domainGetAutostart, { dom })).autostart;
    expect(await autostart()).toBe(0);
    await libvirt.call(procedures.domainSetAutostart, { dom, autostart: 1 });
    expect(await autostart()).toBe(1);
    expect(await libvirt.call(procedures.domainIsActive, { dom })).toEqual({ active: 0 });
    expect(await libvirt.call(procedures.domainIsPersistent, { dom })).toEqual({ persistent: 1 });
    expect(await libvirt.call(procedures.connectGetUri, undefined)).toEqual({ uri: "qemu:///system" });
    expect(await libvirt.call(procedures.connectGetType, undefined)).toEqual({ type: "QEMU" });
  });

  test("takes a name as nothing but a name", async () => {
    const name = `'"$(id)\`;&<b>]]>–ü🙂 %s\\`;
    const defined = await define(name);
    expect(defined.name).toBe(name);
    expect(await libvirt.lookupDomainByName(name)).toEqual(defined);
  });

  test("tells of every step by an event", async () => {
    const events: DomainLifecycleEvent[] = [];
    const stopListening = await libvirt.subscribe("lifecycle", (event) => events.push(event));
    const other: DomainLifecycleEvent[] = [];
    await libvirt.subscribe("lifecycle", (event) => other.push(event));
    const domain = await define();
    await libvirt.startDomain(domain);
    await libvirt.destroyDomain(domain);
    await libvirt.undefineDomain(domain);
    const of = { name: "guest", uuid: domain.uuid };
    const steps = [
      { ...of, event: DomainEventType.DEFINED, detail: DomainEventDefinedDetail.ADDED },
      { ...of, event: DomainEventType.STARTED, detail: DomainEventStartedDetail.BOOTED },
      { ...of, event: DomainEventType.STOPPED, detail: DomainEventStoppedDetail.DESTROYED },
      { ...of, event: DomainEventType.UNDEFINED, detail: DomainEventUndefinedDetail.REMOVED },
    ];
    const seen = () => events.filter(({ event }) => steps.some((step) => step.event === event));
    await waitFor("the last event", () => seen().length >= steps.length);
    expect(seen()).toEqual(steps);
    expect(other).toEqual(events);

    stopListening();
    const before = events.length;
    await define("unheard");
    await waitFor("the other listener's event", () => other.at(-1)?.name === "unheard");
    expect(events).toHaveLength(before);
  });

  describe("refuses", () => {
    const stranger = { name: "nobody", uuid: NOBODY, id: -1 };
    const hold = async (action: (domain: typeof stranger) => Promise<unknown>) => action(await define());
    const running = async (action: (domain: typeof stranger) => Promise<unknown>) =>
      action(await libvirt.startDomain(await define()));

    test.each([
      ["the state of a domain that is not there", () => libvirt.domainState(stranger), ErrorCode.NO_DOMAIN],
      ["to start a domain that is not there", () => libvirt.startDomain(stranger), ErrorCode.NO_DOMAIN],
      ["to undefine a domain that is not there", () => libvirt.undefineDomain(stranger), ErrorCode.NO_DOMAIN],
      [
        "to start a running domain",
        () => running((d) => libvirt.startDomain(d)),
        ErrorCode.OPERATION_INVALID,
      ],
      [
        "to destroy a stopped domain",
        () => hold((d) => libvirt.destroyDomain(d)),
        ErrorCode.OPERATION_INVALID,
      ],
      [
        "to shut a stopped domain down",
        () => hold((d) => libvirt.shutdownDomain(d)),
        ErrorCode.OPERATION_INVALID,
      ],
      ["to pause a stopped domain", () => hold((d) => libvirt.suspendDomain(d)), ErrorCode.OPERATION_INVALID],
      [
        "to resume a running domain",
        () => running((d) => libvirt.resumeDomain(d)),
        ErrorCode.OPERATION_INVALID,
      ],
      ["to reboot a stopped domain", () => hold((d) => libvirt.rebootDomain(d)), ErrorCode.OPERATION_INVALID],
      [
        "to speak to the agent of a guest that has no channel for one",
        () => running((d) => libvirt.domainAgentCommand(d, PING)),
        ErrorCode.ARGUMENT_UNSUPPORTED,
      ],
      [
        "to speak to an agent that does not run",
        async () => {
          const withChannel = await libvirt.defineDomain(guestXml("guest", randomUUID(), AGENT_CHANNEL));
          return libvirt.domainAgentCommand(await libvirt.startDomain(withChannel), PING, { seconds: 1 });
        },
        ErrorCode.AGENT_UNRESPONSIVE,
      ],
      ["XML that is no domain", () => libvirt.defineDomain("<network/>"), ErrorCode.XML_ERROR],
      ["a second domain of one name", () => hold(() => define()), ErrorCode.OPERATION_FAILED],
      ["a name with a slash", () => define("../escape"), ErrorCode.XML_ERROR],
    ])("%s", async (_, action, code) => {
      await expect(action()).rejects.toMatchObject({ name: "LibvirtError", code });
    });

    test("a document that is not well-formed", async () => {
      await expect(libvirt.defineDomain("<domain><name>")).rejects.toMatchObject({ name: "LibvirtError" });
    });

    test("a URI that leads to no hypervisor, and the reason is in the error", async () => {
      const attempt = connectLibvirt({ socketPath: daemon.socketPath, uri: "nosuch:///system" });
      await expect(attempt).rejects.toMatchObject({
        name: "ConnectError",
        cause: expect.objectContaining({ name: "LibvirtError" }),
      });
    });
  });
});
