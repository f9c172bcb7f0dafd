import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import {
  DomainEventType,
  NotSentError,
  openLibvirt,
  procedures,
  type ClientOptions,
  type LibvirtClient,
} from "../../../src/libvirt/index.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { waitFor } from "../../testbed/wait.ts";
import { guestXml } from "./guest-xml.ts";

/** What the client adds to its connections. What it shares with them is in the other suites. */

let server: FakeLibvirtServer;
const clients: LibvirtClient[] = [];

const open = (options: Partial<ClientOptions> = {}): LibvirtClient => {
  const client = openLibvirt({
    socketPath: server.socketPath,
    backOff: { minMs: 1, maxMs: 20 },
    ...options,
  });
  clients.push(client);
  return client;
};

beforeEach(async () => {
  server = await FakeLibvirtServer.start();
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await server.stop();
});

const soon = (what: string, probe: () => boolean): Promise<boolean> =>
  waitFor(what, probe, { intervalMs: 1 });

describe("a client", () => {
  test("is not connected when opened, and refuses calls until it is", async () => {
    const client = open();
    expect(client.connected).toBe(false);
    await expect(client.listDomains()).rejects.toBeInstanceOf(NotSentError);
    await client.whenConnected();
    expect(client.connected).toBe(true);
    expect(await client.listDomains()).toEqual([]);
  });

  test("tries until the daemon is there, and tells of each failure why", async () => {
    await server.kill();
    const client = open();
    const reasons: string[] = [];
    client.onDisconnected(({ name }) => reasons.push(name));
    await soon("three attempts", () => reasons.length >= 3);
    await server.restart();
    await client.whenConnected();
    expect(new Set(reasons)).toEqual(new Set(["ConnectError"]));
  });

  test("has one control connection and three for long calls, which end together", async () => {
    const client = open();
    await client.whenConnected();
    expect(server.connections).toBe(4);
    let disconnections = 0;
    client.onDisconnected(() => {
      disconnections += 1;
    });
    server.next("domainGetXmlDesc", { kind: "garble", bytes: () => Buffer.alloc(4) });
    const dom = await client.defineDomain(guestXml("guest"));
    server.hold("connectGetHostname");
    const bystander = client.hostname().catch((error: Error) => error);
    await expect(client.domainXml(dom)).rejects.toMatchObject({ name: "OutcomeUnknownError" });
    // Not because we closed its connection, but because of what made us do it.
    expect(await bystander).toMatchObject({ cause: expect.objectContaining({ name: "ProtocolError" }) });
    await soon("the disconnection", () => disconnections === 1);
    await client.whenConnected();
    await soon("the old connections are gone", () => server.connections === 4);
    expect(disconnections).toBe(1);
  });

  test("makes do with the control connection when told to have no other", async () => {
    const client = open({ longConnections: 0 });
    await client.whenConnected();
    expect(server.connections).toBe(1);
    expect((await client.defineDomain(guestXml("guest"))).name).toBe("guest");
  });

  test("makes a call on the lane that is named", async () => {
    const client = open();
    await client.whenConnected();
    const release = server.hold("connectGetUri");
    const long = Array.from({ length: 13 }, () => client.call(procedures.connectGetUri, undefined));
    await soon("the long connections are full", () => server.mostOutstanding === 4);
    expect(await client.call(procedures.connectGetType, undefined, { lane: "control" })).toEqual({
      type: "QEMU",
    });
    release();
    for (const { uri } of await Promise.all(long)) expect(uri).toBe("qemu:///system");
  });

  test("registers the kinds of events that it was told to, again after each connection", async () => {
    const client = open({ events: ["reboot", "agentLifecycle"] });
    await client.whenConnected();
    const registrations = () =>
      server.calls.filter((name) => name === "connectDomainEventCallbackRegisterAny").length;
    expect(registrations()).toBe(2);
    server.dropConnections();
    await soon("the new registrations", () => registrations() === 4);
  });

  test("refuses a listener to events that it does not receive", () => {
    const client = open({ events: ["reboot"] });
    expect(() => client.onDomainLifecycle(() => {})).toThrow(RangeError);
    expect(() => client.onDomainEvent("jobCompleted", () => {})).toThrow(
      `events of kind jobCompleted are not received: name it in the options' "events"`,
    );
  });

  test("hands an event to every listener, until it is removed", async () => {
    const client = open();
    const heard: string[] = [];
    const remove = client.onDomainLifecycle(({ event }) => heard.push(`first ${event}`));
    client.onDomainEvent("lifecycle", ({ event }) => heard.push(`second ${event}`));
    await client.whenConnected();
    const dom = await client.defineDomain(guestXml("guest"));
    await soon("the events", () => heard.length === 2);
    remove();
    await client.undefineDomain(dom);
    await soon("the event", () => heard.length === 3);
    const { DEFINED, UNDEFINED } = DomainEventType;
    expect(heard).toEqual([`first ${DEFINED}`, `second ${DEFINED}`, `second ${UNDEFINED}`]);
  });

  test("stays disconnected while the daemon refuses to register its events", async () => {
    server.next("connectDomainEventCallbackRegisterAny", {
      kind: "error",
      code: 3,
      message: "not supported",
    });
    const client = open();
    const reasons: string[] = [];
    client.onDisconnected(({ message }) => reasons.push(message));
    await client.whenConnected();
    expect(reasons).toEqual(["not supported"]);
    await soon("the connections of the failed attempt are gone", () => server.connections === 4);
  });
});

describe("a dedicated connection", () => {
  test("is one more, with the same verbs, and ends when it is closed", async () => {
    const client = open();
    await client.whenConnected();
    const dedicated = await client.openDedicated();
    expect(server.connections).toBe(5);
    expect(await dedicated.hostname()).toBe("fake");
    await dedicated.close();
    await soon("it is gone", () => server.connections === 4);
    expect(await client.hostname()).toBe("fake");
  });

  test("ends with the client", async () => {
    const client = open();
    const dedicated = await client.openDedicated();
    await client.close();
    expect((await dedicated.ended).name).toBe("ClosedError");
    await soon("no connection is left", () => server.connections === 0);
  });

  test("is not opened by a client that is closed, nor stays when the client is closed meanwhile", async () => {
    const release = server.hold("connectOpen");
    const client = open();
    const opening = client.openDedicated().catch(({ name }: Error) => name);
    await soon("it connects", () => server.waiting("connectOpen") > 0);
    const closed = client.close();
    release();
    await closed;
    expect(await opening).toBe("ConnectError");
    await expect(client.openDedicated()).rejects.toMatchObject({ name: "ConnectError" });
    await soon("no connection is left", () => server.connections === 0);
  });

  test("rejects when the daemon is not there", async () => {
    await server.kill();
    await expect(open().openDedicated()).rejects.toMatchObject({ name: "ConnectError" });
  });
});

describe("waiting for a connection", () => {
  beforeEach(() => server.kill());

  test.each([
    ["its deadline", () => ({ timeoutMs: 1 }), "TimeoutError"],
    ["its signal", () => ({ signal: AbortSignal.abort() }), "AbortError"],
  ])("is given up by %s", async (_, options, name) => {
    await expect(open().whenConnected(options())).rejects.toMatchObject({ name });
  });

  test("is given up when the client is closed, also by its signal", async () => {
    const controller = new AbortController();
    const waiting = [open(), open({ signal: controller.signal })].map((client) =>
      client.whenConnected().then(
        () => "connected",
        (error: Error) => error.name,
      ),
    );
    controller.abort();
    await clients[0]?.close();
    expect(await Promise.all(waiting)).toEqual(["ClosedError", "ClosedError"]);
  });

  test("is given up at once by a client whose signal is aborted already", async () => {
    const client = open({ signal: AbortSignal.abort() });
    await expect(client.whenConnected()).rejects.toMatchObject({ name: "ClosedError" });
  });
});

test("a client that is closed while it connects leaves no connection", async () => {
  for (const procedure of ["authList", "connectOpen", "connectDomainEventCallbackRegisterAny"] as const) {
    const release = server.hold(procedure);
    const client = open();
    await soon("a connection", () => server.connections > 0);
    const closed = client.close();
    release();
    await closed;
    await soon("no connection is left", () => server.connections === 0);
    expect(client.connected).toBe(false);
  }
});
