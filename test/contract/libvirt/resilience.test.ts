import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import {
  connectLibvirt,
  DomainEventType,
  DomainState,
  NotSentError,
  openLibvirt,
  procedures,
  type ClientOptions,
  type DomainRef,
  type LibvirtClient,
} from "../../../src/libvirt/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { daemonKinds, type TestDaemon } from "./daemons.ts";
import { guestXml } from "./guest-xml.ts";
import { startRpcRelay, type RpcRelay } from "./rpc-relay.ts";

const failureOf = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    (value) => {
      throw new Error(`resolved with ${String(value)}`);
    },
    (error: Error) => error,
  );

/** So short that these tests need not wait, and far above what a busy machine delays an answer by. */
const keepalive = { intervalMs: 500, count: 3 };
const backOff = { minMs: 20, maxMs: 200 };

describe.each(daemonKinds)("$name", (kind) => {
  let daemon: TestDaemon;
  let client: LibvirtClient;
  let guest: DomainRef;
  const clients: LibvirtClient[] = [];
  const relays: RpcRelay[] = [];

  const open = (options: Partial<ClientOptions> = {}): LibvirtClient => {
    const opened = openLibvirt({ socketPath: daemon.socketPath, keepalive, backOff, ...options });
    clients.push(opened);
    return opened;
  };

  const relay = async (): Promise<RpcRelay> => {
    const started = await startRpcRelay(daemon.socketPath);
    relays.push(started);
    return started;
  };

  beforeAll(async () => {
    daemon = await kind.start();
  });
  afterAll(() => daemon.stop());

  beforeEach(async () => {
    client = open();
    await client.whenConnected();
    guest = await client.createTransientDomain(guestXml("guest"));
  });

  afterEach(async () => {
    await client.whenConnected();
    for (const domain of await client.listDomains()) await end(client, domain);
    await Promise.all(clients.splice(0).map((each) => each.close()));
    await Promise.all(relays.splice(0).map((each) => each.stop()));
  });

  test("killed in the middle of a call: its outcome is unknown at once, and the guest survives", async () => {
    const identity = daemon.guestIdentity(guest);
    const unblock = await daemon.block(guest);
    const started = await waitForBlocked(client, guest);
    const reasons: Error[] = [];
    client.onDisconnected((reason) => reasons.push(reason));

    await daemon.kill();
    const failure = await started.failure;
    expect(failure).toMatchObject({ name: "OutcomeUnknownError", reason: "disconnected" });
    // By the broken connection itself, not by keepalive some seconds later.
    expect(failure.cause).not.toMatchObject({ name: "KeepaliveError" });
    await waitFor("the client knows", () => !client.connected);
    expect(await failureOf(client.listDomains())).toBeInstanceOf(NotSentError);
    await waitFor("an attempt to connect has failed", () =>
      reasons.some(({ name }) => name === "ConnectError"),
    );

    await unblock();
    await daemon.restart();
    await client.whenConnected();
    expect(await client.lookupDomain(guest.uuid)).toEqual(guest);
    expect(daemon.guestIdentity(guest)).toBe(identity);
  });

  test("killed: events arrive again after the reconnection, of which the owner is told", async () => {
    let connections = 0;
    const stopListening = client.onConnected(() => {
      connections += 1;
    });
    const events: number[] = [];
    client.onDomainLifecycle(({ event }) => events.push(event));
    await daemon.kill();
    await daemon.restart();
    await waitFor("the reconnection", () => connections === 1);
    // A new domain, since libvirt itself may keep quiet about a guest that it is still taking hold of.
    await client.undefineDomain(await client.defineDomain(guestXml("newcomer")));
    await waitFor("the event", () => events.includes(DomainEventType.UNDEFINED));

    stopListening();
    await daemon.kill();
    await waitFor("the client knows", () => !client.connected);
    await daemon.restart();
    await client.whenConnected();
    expect(connections).toBe(1);
  });

  test("frozen: keepalive notices, calls fail as unknown, and the thawed daemon is found again", async () => {
    const reasons: Error[] = [];
    client.onDisconnected((reason) => reasons.push(reason));
    await daemon.freeze();
    try {
      expect(await failureOf(client.domainState(guest))).toMatchObject({
        name: "OutcomeUnknownError",
        cause: expect.objectContaining({ name: "KeepaliveError" }),
      });
      await waitFor("the owner is told", () => reasons[0]?.name === "KeepaliveError");
    } finally {
      await daemon.thaw();
    }
    await client.whenConnected();
    expect((await client.domainState(guest)).state).toBe(DomainState.RUNNING);
  });

  test("frozen before the connection: connecting ends at its deadline", async () => {
    await daemon.freeze();
    const attempt = failureOf(connectLibvirt({ socketPath: daemon.socketPath, connectTimeoutMs: 100 }));
    try {
      expect(await attempt).toMatchObject({ name: "ConnectError" });
    } finally {
      await daemon.thaw();
    }
  });

  test("blocked calls: at most four are with the daemon, and keepalive goes on", async () => {
    const through = await relay();
    const connection = await connectLibvirt({ socketPath: through.socketPath, keepalive });
    const unblock = await daemon.block(guest);
    const blocked = Array.from({ length: 8 }, () => failureOrValue(connection.suspendDomain(guest)));
    const [seen] = through.connections;
    await waitFor("four calls are with the daemon", () => seen?.outstanding === 4);
    await waitFor("the daemon answers pings all the while", () => (seen?.pongs ?? 0) >= 3);
    expect(connection.pendingCalls).toBe(8);
    await unblock();
    await Promise.all(blocked);
    expect(seen?.mostOutstanding).toBe(4);
    await connection.close();
  });

  test("blocked long calls: control calls are answered, and twelve at most are with the daemon", async () => {
    const through = await relay();
    const other = open({ socketPath: through.socketPath });
    await other.whenConnected();
    const unblock = await daemon.block(guest);
    const blocked = Array.from({ length: 20 }, () => failureOrValue(other.suspendDomain(guest)));
    const outstanding = () => through.connections.reduce((sum, each) => sum + each.outstanding, 0);
    await waitFor("twelve calls are with the daemon", () => outstanding() === 12);
    expect((await other.domainState(guest)).state).toBe(DomainState.RUNNING);
    expect(await other.listDomains()).toEqual([guest]);
    expect(outstanding()).toBe(12);
    await unblock();
    await Promise.all(blocked);
  });

  test("a deadline ends the wait for a blocked call, and the connection goes on", async () => {
    const unblock = await daemon.block(guest);
    expect(await failureOf(client.suspendDomain(guest, { timeoutMs: 50 }))).toMatchObject({
      name: "OutcomeUnknownError",
      reason: "timeout",
    });
    expect(client.connected).toBe(true);
    await unblock();
    // The daemon went on with it, and that is what "unknown" is about.
    await waitFor(
      "the guest is paused",
      async () => (await client.domainState(guest)).state === DomainState.PAUSED,
    );
  });

  test("an abort ends the wait for a blocked call", async () => {
    const unblock = await daemon.block(guest);
    const controller = new AbortController();
    const failed = failureOf(client.suspendDomain(guest, { signal: controller.signal }));
    controller.abort(new Error("enough"));
    expect(await failed).toMatchObject({ name: "OutcomeUnknownError", reason: "aborted" });
    await unblock();
  });

  test("a closed client rejects what is under way and what comes, and closes twice as well as once", async () => {
    const unblock = await daemon.block(guest);
    const other = open();
    await other.whenConnected();
    const blocked = await waitForBlocked(other, guest);
    await other.close();
    expect(await blocked.failure).toMatchObject({ name: "OutcomeUnknownError" });
    expect(await failureOf(other.listDomains())).toBeInstanceOf(NotSentError);
    expect(await failureOf(other.whenConnected())).toMatchObject({ name: "ClosedError" });
    expect(other.connected).toBe(false);
    await other.close();
    await unblock();
  });

  test("2000 calls at once on one client: each gets its own answer or its own error", async () => {
    const names = Array.from({ length: 2_000 }, (_, index) =>
      index % 2 === 0 ? "guest" : `nobody-${index}`,
    );
    const answers = await Promise.all(
      names.map((name) =>
        client.call(procedures.domainLookupByName, { name }).then(
          ({ dom }) => dom.name,
          (error: Error) => /'(nobody-\d+)'/.exec(error.message)?.[1],
        ),
      ),
    );
    expect(answers).toEqual(names);
  });
});

/**
 * Destroys a transient domain. A libvirtd that was just started is still taking
 * hold of its guests; a destroy that meets it ends the guest and then finds that
 * the domain has gone. See LibvirtVerbs.destroyDomain.
 */
const end = async (client: LibvirtClient, domain: DomainRef): Promise<void> => {
  try {
    await client.destroyDomain(domain);
  } catch (error) {
    if ((await client.lookupDomain(domain.uuid)) !== undefined) throw error;
  }
};

const failureOrValue = (promise: Promise<unknown>): Promise<unknown> =>
  promise.catch((error: Error) => error);

/** Makes a call that the blocked guest holds up, and resolves when the daemon has it. */
const waitForBlocked = async (
  client: LibvirtClient,
  guest: DomainRef,
): Promise<{ failure: Promise<Error> }> => {
  const failure = failureOf(client.suspendDomain(guest));
  // Written after it and answered: the daemon's socket has the blocked one by then.
  await client.domainState(guest);
  return { failure };
};
