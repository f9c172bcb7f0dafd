import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";

import { FLOATING_IP_POOL_FINALIZER, floatingIpPools } from "../../src/api/floating-ip-pool.ts";
import { FLOATING_FENCED_AFTER_MS, type FloatingIp, floatingIps } from "../../src/api/floating-ip.ts";
import { flavors } from "../../src/api/flavor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { apiVersionOf, type Resource } from "../../src/api/resource.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { loadKubeConfig } from "../../src/kube/index.ts";
import { waitFor } from "../testbed/wait.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import { type FloatingAgent, startFloatingAgent } from "./support/floating-agent.ts";
import { machine, manifests } from "./support/objects.ts";

let stage: ControllerStage;
let cluster: TestCluster;
let agents: FloatingAgent[] = [];

beforeAll(async () => {
  stage = await openControllerStage();
  ({ cluster } = stage);
  await stage.addController("controller");
  await create(cluster, flavors, manifests.flavor("small"));
  await create(cluster, images, manifests.image("tiny"));
  await create(cluster, keyPairs, manifests.keyPair("me"));
  await create(cluster, networks, manifests.network("lan", "10.1.0.0/24"));
});

afterAll(() => stage.stop());

afterEach(async () => {
  const { kubectl } = cluster.controlPlane;
  await kubectl(["delete", "floatingips", "--all", "--wait=false", `--namespace=${cluster.namespace}`]);
  await waitFor("the FloatingIPs gone", async () => (await names(floatingIps)).length === 0);
  await kubectl(["delete", "floatingippools", "--all"]);
  await Promise.all(agents.map((agent) => agent.stop()));
  agents = [];
  await stage.clear();
});

const names = async (resource: Resource): Promise<readonly string[]> => {
  const { body } = await cluster.administrator.call({ method: "GET", path: cluster.pathOf(resource) });
  const { items } = body as { readonly items: readonly { readonly metadata: { readonly name: string } }[] };
  return items.map(({ metadata }) => metadata.name);
};

const object = (resource: Resource, name: string, spec: object): object => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  metadata: { name },
  spec,
});

const makePool = (name: string, ...cidrs: string[]) =>
  create(cluster, floatingIpPools, object(floatingIpPools, name, { cidrs }));

const makeFloatingIp = (name: string, spec: object) =>
  create(cluster, floatingIps, object(floatingIps, name, spec));

const patch = (resource: Resource, name: string, body: object) =>
  cluster.administrator.call({
    method: "PATCH",
    path: cluster.pathOf(resource, name),
    contentType: "application/merge-patch+json",
    body,
  });

const remove = (resource: Resource, name: string) =>
  cluster.administrator.call({ method: "DELETE", path: cluster.pathOf(resource, name) });

const startFloating = (nodeName: string, takesNothing = false): FloatingAgent => {
  const kubeConfig = loadKubeConfig({ kubeconfig: cluster.controlPlane.kubeconfig });
  const agent = startFloatingAgent({ kubeConfig, nodeName, takesNothing });
  agents.push(agent);
  return agent;
};

/** Two machines on two nodes, which have room for one each; resolves with their nodes. */
const twoMachines = async (prefix: string): Promise<readonly [string, string]> => {
  for (const n of [1, 2]) stage.startAgent(`${prefix}-${n}`, { memoryMiB: 600, leaseDurationMs: 20_000 });
  const nodeOf = async (name: string): Promise<string> => {
    await create(cluster, virtualMachines, machine(name));
    const found = await stage.untilCondition(virtualMachines, name, "Ready", { status: "True" });
    return found.status?.nodeName ?? "none";
  };
  return [await nodeOf("web-0"), await nodeOf("web-1")];
};

const reachable = (name: string, target: string): Promise<FloatingIp> =>
  waitFor(`${name} to reach ${target}`, async () => {
    const found = await stage.untilCondition(floatingIps, name, "Ready", {
      status: "True",
      reason: "Reachable",
    });
    if (found.status?.claim?.machine !== target) throw new Error(JSON.stringify(found.status));
    return found;
  });

test("an address goes to the first target, follows a halt, and is free after the deletion", async () => {
  const [first, second] = await twoMachines("move");
  for (const node of [first, second]) startFloating(node);
  await makePool("public", "203.0.113.64/30");
  await makeFloatingIp("www", { pool: "public", targets: ["web-0", "web-1"] });
  const before = await reachable("www", "web-0");
  expect(before.status).toMatchObject({ address: "203.0.113.64", holder: { nodeName: first } });

  await patch(virtualMachines, "web-0", { spec: { runStrategy: "Halted" } });
  const after = await reachable("www", "web-1");
  expect(after.status).toMatchObject({ address: "203.0.113.64", holder: { nodeName: second }, failovers: 1 });
  await waitFor("the event FailedOver", async () => (await stage.eventsOn("www")).includes("FailedOver"));

  await waitFor("the count of the pool", async () => {
    const pool = await stage.read(floatingIpPools, "public");
    return pool?.status?.addresses?.allocated === 1 && pool.status.addresses.capacity === 4;
  });
  await remove(floatingIps, "www");
  await waitFor("www gone", async () => (await stage.read(floatingIps, "www")) === undefined);
  await makeFloatingIp("again", { pool: "public", targets: ["web-1"] });
  expect((await reachable("again", "web-1")).status?.address).toBe("203.0.113.64");
});

test("a silent node loses its addresses when they have run out there, and not before", async () => {
  const [first, second] = await twoMachines("fence");
  const silent = startFloating(first);
  startFloating(second);
  await makePool("public", "203.0.113.64/30");
  await makeFloatingIp("www", { pool: "public", targets: ["web-0", "web-1"] });
  await makeFloatingIp("ftp", { pool: "public", targets: ["web-0", "web-1"] });
  await reachable("www", "web-0");
  await reachable("ftp", "web-0");
  await silent.stop();
  const stoppedAt = performance.now();
  const moved = await reachable("www", "web-1");
  await reachable("ftp", "web-1");
  // The last renewal was at most one interval before the end.
  expect(performance.now() - stoppedAt).toBeGreaterThan(FLOATING_FENCED_AFTER_MS - 1_500);
  expect(moved.status).toMatchObject({ holder: { nodeName: second }, failovers: 1 });

  // Nobody comes back by himself (failback Never), and the node is welcome again.
  startFloating(first);
  await patch(virtualMachines, "web-1", { spec: { runStrategy: "Halted" } });
  expect((await reachable("www", "web-0")).status).toMatchObject({
    holder: { nodeName: first },
    failovers: 2,
  });
});

test("a node that does not take what it is given is passed over, and that is said", async () => {
  const [first, second] = await twoMachines("pass");
  startFloating(first, true);
  startFloating(second);
  await makePool("public", "203.0.113.64/30");
  await makeFloatingIp("www", { pool: "public", targets: ["web-0", "web-1"] });
  await stage.untilCondition(floatingIps, "www", "Ready", { status: "False", reason: "Moving" });
  const found = await reachable("www", "web-1");
  expect(messageOf(found, "NodePassedOver")).toContain(
    `node ${first} was given the address and did not take it`,
  );
});

test("deleting waits for the node that answers, and takes the address from one that is silent", async () => {
  const [first] = await twoMachines("gone");
  const agent = startFloating(first);
  await makePool("public", "203.0.113.64/30");
  await makeFloatingIp("www", { pool: "public", targets: ["web-0"] });
  await reachable("www", "web-0");
  await agent.stop();
  await remove(floatingIps, "www");
  const leaving = await stage.untilCondition(floatingIps, "www", "Ready", {
    status: "False",
    reason: "Deleting",
  });
  expect(leaving.status?.claim).toBeUndefined();
  expect(leaving.status?.holder?.nodeName).toBe(first);
  await waitFor("www gone", async () => (await stage.read(floatingIps, "www")) === undefined);
});

test("a pool that is exhausted, an address that is taken, one outside, and no pool are told apart", async () => {
  await makeFloatingIp("early", { pool: "tiny", selector: { app: "web" } });
  await stage.untilCondition(floatingIps, "early", "Ready", { status: "False", reason: "PoolNotFound" });
  await makePool("tiny", "203.0.113.80/31");
  await stage.untilCondition(floatingIps, "early", "Ready", { status: "False", reason: "NoHealthyTarget" });
  await makeFloatingIp("wish", { pool: "tiny", address: "203.0.113.81", targets: ["web-0"] });
  await stage.untilCondition(floatingIps, "wish", "Ready", { status: "False", reason: "NoHealthyTarget" });
  await makeFloatingIp("late", { pool: "tiny", targets: ["web-0"] });
  await stage.untilCondition(floatingIps, "late", "Ready", { status: "False", reason: "PoolExhausted" });
  await makeFloatingIp("rival", { pool: "tiny", address: "203.0.113.80", targets: ["web-0"] });
  const rival = await stage.untilCondition(floatingIps, "rival", "Ready", {
    status: "False",
    reason: "AddressTaken",
  });
  expect(messageOf(rival, "Ready")).toContain(`${cluster.namespace}/early has 203.0.113.80`);
  await makeFloatingIp("stray", { pool: "tiny", address: "198.51.100.1", targets: ["web-0"] });
  await stage.untilCondition(floatingIps, "stray", "Ready", { status: "False", reason: "AddressNotInPool" });

  await remove(floatingIpPools, "tiny");
  const pool = await stage.untilCondition(floatingIpPools, "tiny", "Ready", {
    status: "False",
    reason: "InUse",
  });
  expect(pool.metadata.finalizers).toEqual([FLOATING_IP_POOL_FINALIZER]);
  for (const name of ["early", "wish"]) await remove(floatingIps, name);
  await waitFor("the pool gone", async () => (await stage.read(floatingIpPools, "tiny")) === undefined);
  await stage.untilCondition(floatingIps, "late", "Ready", { status: "False", reason: "PoolNotFound" });
});

test("what is given back goes to one that waits", async () => {
  await makePool("one", "203.0.113.90/32");
  await makeFloatingIp("first", { pool: "one", targets: ["web-0"] });
  await stage.untilCondition(floatingIps, "first", "Ready", { status: "False", reason: "NoHealthyTarget" });
  await makeFloatingIp("second", { pool: "one", targets: ["web-0"] });
  await stage.untilCondition(floatingIps, "second", "Ready", { status: "False", reason: "PoolExhausted" });
  await remove(floatingIps, "first");
  const second = await stage.untilCondition(floatingIps, "second", "Ready", {
    status: "False",
    reason: "NoHealthyTarget",
  });
  expect(second.status?.address).toBe("203.0.113.90");
});

test("thirty that are made at once have thirty addresses", async () => {
  await makePool("many", "203.0.113.96/27");
  const made = Array.from({ length: 30 }, (_, n) => `fip-${n}`);
  await Promise.all(made.map((name) => makeFloatingIp(name, { pool: "many", targets: ["web-0"] })));
  const addresses = await Promise.all(
    made.map(async (name) => {
      const found = await stage.untilCondition(floatingIps, name, "Ready", {
        status: "False",
        reason: "NoHealthyTarget",
      });
      return found.status?.address;
    }),
  );
  expect(new Set(addresses).size).toBe(30);
});
