import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";

import { type FloatingIp, floatingIps, floatingLeaseName } from "../../../../../src/api/floating-ip.ts";
import { createKubeClient, type KubeClient, leases, silentLogger } from "../../../../../src/kube/index.ts";
import { createFloatingAgent } from "../../../../../src/node-agent/reconcilers/floating/floating-agent.ts";
import type { WithdrawReason } from "../../../../../src/node-agent/reconcilers/floating/floating-claims.ts";
import { createFloatingObjects } from "../../../../../src/node-agent/reconcilers/floating/floating-objects.ts";
import type { Floating } from "../../../../../src/node-agent/floating/index.ts";
import { FakeKubeApiServer } from "../../../../fakes/kube-api-server.ts";
import { waitFor } from "../../../../testbed/wait.ts";

/** The agent's loop against an API server over HTTP. */

const ADDRESS = "192.0.2.101";
const { signal } = new AbortController();
const key = { namespace: "shop", name: "www" };
const machineUid = "11111111-1111-4111-8111-111111111111";
const claim = { machine: "web-0", machineUid, nodeName: "node-1", address: "10.0.0.11", vni: 1 };

let server: FakeKubeApiServer;
let client: KubeClient;
let stops: (() => Promise<void>)[];

beforeEach(async () => {
  server = new FakeKubeApiServer();
  await server.start();
  client = createKubeClient({ kubeConfig: server.kubeConfig() });
  stops = [];
  await client.create(
    floatingIps,
    { metadata: key, spec: { pool: "public", targets: ["web-0"] } },
    { signal },
  );
});

afterEach(async () => {
  for (const stop of stops) await stop();
  await client.close();
  await server.stop();
});

/** A node's devices, as the room shows them. */
interface Node {
  readonly held: Set<string>;
  readonly did: string[];
  readonly events: string[];
  readonly withdrawn: WithdrawReason[];
}

const newNode = (held: readonly string[] = []): Node => ({
  held: new Set(held),
  did: [],
  events: [],
  withdrawn: [],
});

const roomOf = ({ held, did }: Node): Floating => ({
  translate: async (addresses) => void did.push(`translate ${addresses.map(({ tap }) => tap).join()}`),
  hold: async (addresses, { validForSeconds }) => {
    for (const address of addresses) held.add(address);
    did.push(`hold for ${validForSeconds} s`);
  },
  withdraw: async (addresses) => {
    for (const address of addresses) held.delete(address);
    did.push("withdraw");
  },
  held: async () => [...held],
  tearDown: async () => {},
});

/** Starts an agent; the returned function kills it: what it holds stays. */
const startAgent = (node: Node): (() => Promise<void>) => {
  const controller = new AbortController();
  const own = createKubeClient({ kubeConfig: server.kubeConfig() });
  const agent = createFloatingAgent({
    nodeName: "node-1",
    client: own,
    objects: createFloatingObjects({ nodeName: "node-1", client: own, logger: silentLogger }),
    floating: roomOf(node),
    targets: () => [{ machineUid, guestAddress: "10.0.0.11", vni: 1, tap: "vtap00000000001" }],
    events: { event: (_, type, reason) => void node.events.push(`${type} ${reason}`) },
    logger: silentLogger,
    metrics: {
      held: () => {},
      acquired: () => {},
      withdrawn: (reason) => void node.withdrawn.push(reason),
      renewalFailed: () => {},
    },
  });
  const running = agent.run(controller.signal);
  const stop = async (): Promise<void> => {
    controller.abort();
    await running;
    await own.close();
  };
  stops.push(stop);
  return stop;
};

const setStatus = (status: Readonly<Record<string, unknown>>): Promise<FloatingIp> =>
  client.mergePatch(floatingIps, key, { status }, { subresource: "status", signal });

const holder = async (): Promise<string | undefined> =>
  (await client.get(floatingIps, key, { signal }))?.status?.holder?.nodeName;

const holds = (node: Node) => (): Promise<boolean> => Promise.resolve(node.held.has(ADDRESS));

describe("the agent of floating addresses", () => {
  it("becomes the holder of what it has a claim to, and then answers", async () => {
    const node = newNode();
    startAgent(node);
    await setStatus({ address: ADDRESS, claim });
    await waitFor("the address to be held", holds(node));
    expect(await holder()).toBe("node-1");
    expect(node.did[0]).toMatch(/^translate/);
    await waitFor("the event", () => Promise.resolve(node.events.length > 0));
    expect(node.events).toEqual(["Normal AddressAcquired"]);
  });

  it("withdraws and clears itself as the holder when the claim goes elsewhere", async () => {
    const node = newNode();
    startAgent(node);
    await setStatus({ address: ADDRESS, claim });
    await waitFor("the address to be held", holds(node));
    await setStatus({ claim: { ...claim, nodeName: "node-2" } });
    await waitFor("the holder to be cleared", async () => (await holder()) === undefined);
    expect(node.held.size).toBe(0);
    expect(node.withdrawn).toEqual(["ClaimMoved"]);
    await waitFor("the translation to go", () => Promise.resolve(node.did.at(-1) === "translate "));
  });

  it("does not answer while another node is the holder", async () => {
    const node = newNode();
    startAgent(node);
    const since = "2026-01-01T00:00:00Z";
    await setStatus({ address: ADDRESS, claim, holder: { nodeName: "node-2", since } });
    await waitFor("the translation", () => Promise.resolve(node.did.includes("translate vtap00000000001")));
    expect(node.held.size).toBe(0);
    await setStatus({ holder: null });
    await waitFor("the address to be held", holds(node));
    expect(await holder()).toBe("node-1");
  });

  it("goes on after it was killed, without writing who the holder is", async () => {
    const node = newNode();
    const kill = startAgent(node);
    await setStatus({ address: ADDRESS, claim });
    await waitFor("the address to be held", holds(node));
    await kill();
    const before = await client.get(floatingIps, key, { signal });
    node.did.length = 0;
    startAgent(node);
    await waitFor("the address to be refreshed", () =>
      Promise.resolve(node.did.some((what) => what.startsWith("hold"))),
    );
    await waitFor("the translation", () => Promise.resolve(node.did.includes("translate vtap00000000001")));
    expect(node.did).not.toContain("withdraw");
    expect((await client.get(floatingIps, key, { signal }))?.metadata).toEqual(before?.metadata);
  });

  it("withdraws what it finds and no FloatingIP has", async () => {
    const node = newNode(["192.0.2.199"]);
    startAgent(node);
    await waitFor("the stranger to be withdrawn", () => Promise.resolve(node.withdrawn.length > 0));
    expect(node.held.size).toBe(0);
  });

  it("withdraws by itself when the API server is away", async () => {
    const node = newNode();
    startAgent(node);
    await setStatus({ address: ADDRESS, claim });
    await waitFor("the address to be held", holds(node));
    await server.stop();
    await waitFor("the address to be withdrawn", async () => !(await holds(node)()));
    expect(node.withdrawn).toEqual(["LeaseLost"]);
    await server.start();
    await waitFor("the address to be held again", holds(node));
  });

  it("writes nothing while it has neither a claim nor an address", async () => {
    startAgent(newNode());
    await waitFor("both watches", () => Promise.resolve(server.watcherCount === 2));
    const lease = { namespace: "vireo-system", name: floatingLeaseName("node-1") };
    expect(await client.get(leases, lease, { signal })).toBeUndefined();
  });
});
