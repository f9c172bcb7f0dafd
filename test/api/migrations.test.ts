import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";

import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import {
  LEFTOVERS_FINALIZER,
  MIGRATION_FINALIZER,
  type MigrationPhase,
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../../src/api/virtual-machine-migration.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { MERGE_PATCH } from "./support/api-client.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import type { FakeAgent } from "./support/fake-agent.ts";
import { machine, manifests } from "./support/objects.ts";
import { condition } from "./support/system.ts";

/** Migrations, drain and evacuation on a real API server; the test says what the agents of both ends say. */

const NODES = ["move-1", "move-2"] as const;
const [HERE, THERE] = NODES;
const SHARED = {
  name: "nfs",
  shared: true,
  wipe: "None",
  capacityMiB: 500_000,
  availableMiB: 500_000,
} as const;

let stage: ControllerStage;
let cluster: TestCluster;
let kubectl: TestCluster["controlPlane"]["kubectl"];
let agents: readonly FakeAgent[];

beforeAll(async () => {
  stage = await openControllerStage();
  ({ cluster } = stage);
  ({ kubectl } = cluster.controlPlane);
  await stage.addController("controller");
  await create(cluster, flavors, manifests.flavor("small"));
  await create(cluster, images, manifests.image("tiny"));
  await create(cluster, keyPairs, manifests.keyPair("me"));
  await create(cluster, networks, manifests.network("lan", "10.1.0.0/24"));
});

afterAll(() => stage.stop());

beforeEach(async () => {
  agents = NODES.map((name) => stage.startAgent(name, { storagePools: [SHARED] }));
  for (const name of NODES) await stage.untilCondition(hypervisors, name, "Ready", { status: "True" });
});

afterEach(async () => {
  for (const name of await namesOf("vmmigration")) await drop("vmmigration", name);
  await stage.clear();
  await kubectl(["delete", "volume", "--all", `--namespace=${cluster.namespace}`]);
});

const namesOf = async (kind: string): Promise<readonly string[]> => {
  const args = [
    "get",
    kind,
    `--namespace=${cluster.namespace}`,
    "--output=jsonpath={.items[*].metadata.name}",
  ];
  return (await kubectl(args)).split(" ").filter((name) => name !== "");
};

/** Whatever it waits for. */
const drop = async (kind: string, name: string): Promise<void> => {
  const args = [kind, name, `--namespace=${cluster.namespace}`, "--ignore-not-found"];
  await kubectl(["delete", ...args, "--wait=false"]);
  await kubectl([
    "patch",
    kind,
    name,
    `--namespace=${cluster.namespace}`,
    "--type=merge",
    '--patch={"metadata":{"finalizers":null}}',
  ]).catch(() => "");
};

const administer = (node: string, spec: object) =>
  kubectl(["patch", "hypervisor", node, "--type=merge", `--patch=${JSON.stringify({ spec })}`]);

/** A machine that runs on HERE. */
const startMachine = async (name = "web", spec: object = {}): Promise<VirtualMachine> => {
  await administer(THERE, { unschedulable: true });
  await create(cluster, virtualMachines, machine(name, spec));
  const running = await stage.untilCondition(virtualMachines, name, "Ready", { status: "True" });
  expect(running.status?.nodeName).toBe(HERE);
  await administer(THERE, { unschedulable: false });
  return running;
};

const move = (name: string, spec: object = {}) =>
  create(cluster, virtualMachineMigrations, {
    apiVersion: "vireo.dev/v1alpha1",
    kind: "VirtualMachineMigration",
    metadata: { name },
    spec: { virtualMachine: "web", ...spec },
  });

const untilPhase = (name: string, phase: MigrationPhase): Promise<VirtualMachineMigration> =>
  waitFor(`VirtualMachineMigration ${name} ${phase}`, async () => {
    const migration = await stage.read(virtualMachineMigrations, name);
    if (migration?.status?.phase === phase) return migration;
    throw new Error(JSON.stringify(migration?.status ?? "no status"));
  });

const untilOn = (name: string, node: string): Promise<VirtualMachine> =>
  waitFor(`VirtualMachine ${name} on ${node}`, async () => {
    const found = await stage.read(virtualMachines, name);
    if (found?.status?.nodeName === node) return found;
    throw new Error(JSON.stringify(found?.status?.nodeName));
  });

/** What the agent of one end writes, as it does: bound to the version that it has seen, and anew when that was not the last. */
const say = (name: string, status: object): Promise<boolean> =>
  waitFor(`VirtualMachineMigration ${name} with ${JSON.stringify(status)}`, async () => {
    const migration = await stage.read(virtualMachineMigrations, name);
    const resourceVersion = migration?.metadata.resourceVersion ?? "";
    const { code } = await cluster.administrator.call({
      method: "PATCH",
      path: `${cluster.pathOf(virtualMachineMigrations, name)}/status`,
      contentType: MERGE_PATCH,
      body: { metadata: { resourceVersion }, status: { ...status } },
    });
    return code === 200 ? true : Promise.reject(new Error(`answer ${code}`));
  });

const untilFinalizers = (name: string, wanted: readonly string[]): Promise<VirtualMachineMigration> =>
  waitFor(`VirtualMachineMigration ${name} with the finalizers ${wanted.join()}`, async () => {
    const migration = await stage.read(virtualMachineMigrations, name);
    const finalizers = migration?.metadata.finalizers ?? [];
    if (migration !== undefined && finalizers.join() === wanted.join()) return migration;
    throw new Error(finalizers.join());
  });

/** The agent of the node that the machine is not on says that nothing is left there. */
const release = async (name: string): Promise<boolean> => {
  const migration = await stage.read(virtualMachineMigrations, name);
  return say(name, { conditions: [...(migration?.status?.conditions ?? []), condition("Released", "True")] });
};

/** It is kept until the other node has nothing left of the machine. */
const released = async (name: string): Promise<VirtualMachineMigration> => {
  await untilFinalizers(name, [LEFTOVERS_FINALIZER]);
  await release(name);
  return untilFinalizers(name, []);
};

test("a machine moves when the target takes over, and is Ready all the time", async () => {
  await create(cluster, volumes, {
    apiVersion: "vireo.dev/v1alpha1",
    kind: "Volume",
    metadata: { name: "data" },
    spec: { size: "1Gi" },
  });
  const before = await startMachine("web", { volumes: [{ name: "data" }] });
  await stage.untilCondition(volumes, "data", "Ready", { status: "True" });
  await move("away");
  const accepted = await untilPhase("away", "Preparing");
  expect(accepted.metadata.finalizers).toEqual([MIGRATION_FINALIZER, LEFTOVERS_FINALIZER]);
  expect(accepted.status).toMatchObject({
    machineUid: before.metadata.uid,
    sourceNode: HERE,
    targetNode: THERE,
    live: true,
  });
  await say("away", { targetReady: true });
  await say("away", { phase: "Copying", startedAt: "2026-01-01T00:00:00Z" });
  await stage.untilCondition(virtualMachineMigrations, "away", "Ready", {
    status: "False",
    reason: "Copying",
  });
  expect((await stage.read(virtualMachines, "web"))?.status?.nodeName).toBe(HERE);
  await say("away", { phase: "Switching" });
  const moved = await untilOn("web", THERE);
  expect(moved.status?.allocation).toEqual(before.status?.allocation);
  expect(moved.status?.conditions?.find(({ type }) => type === "Ready")?.status).toBe("True");
  await waitFor("the Volume with its machine", async () =>
    (await stage.read(volumes, "data"))?.status?.nodeName === THERE
      ? true
      : Promise.reject(new Error("not yet")),
  );
  await say("away", { phase: "Succeeded", completedAt: "2026-01-01T00:00:09Z", downtimeMilliseconds: 40 });
  await stage.untilCondition(virtualMachineMigrations, "away", "Ready", { status: "True" });
  await released("away");
  expect(await stage.eventsOn("web")).toContain("Migrated");
});

test("a machine whose target fails to take over goes back", async () => {
  await startMachine();
  await move("away", { targetNode: THERE });
  await untilPhase("away", "Preparing");
  await say("away", { phase: "Copying" });
  await say("away", { phase: "Switching" });
  await untilOn("web", THERE);
  await say("away", { phase: "Failed" });
  await untilOn("web", HERE);
  expect((await released("away")).status?.phase).toBe("Failed");
  await stage.untilCondition(virtualMachineMigrations, "away", "Stalled", { status: "True" });
});

test("a migration that is deleted before it has begun is cancelled; one that copies is the source's to cancel", async () => {
  await startMachine();
  await move("early");
  await untilPhase("early", "Preparing");
  await kubectl(["delete", "vmmigration", "early", "--wait=false", `--namespace=${cluster.namespace}`]);
  await untilPhase("early", "Cancelled");
  await untilFinalizers("early", [LEFTOVERS_FINALIZER]);
  await release("early");
  await move("late");
  await untilPhase("late", "Preparing");
  await say("late", { phase: "Copying" });
  await kubectl(["delete", "vmmigration", "late", "--wait=false", `--namespace=${cluster.namespace}`]);
  await stage.untilCondition(virtualMachineMigrations, "late", "Ready", {
    status: "False",
    reason: "Copying",
  });
  expect((await stage.read(virtualMachineMigrations, "late"))?.status?.phase).toBe("Copying");
  await say("late", { phase: "Cancelled" });
  await untilFinalizers("late", [LEFTOVERS_FINALIZER]);
  await release("late");
  await waitFor("the migration gone", async () =>
    (await stage.read(virtualMachineMigrations, "late")) === undefined
      ? true
      : Promise.reject(new Error("still there")),
  );
  expect((await stage.read(virtualMachines, "web"))?.status?.nodeName).toBe(HERE);
});

test("no more machines leave a node at a time than it may move; the next has its turn when one is over", async () => {
  await administer(HERE, { maxParallelMigrations: 1 });
  await startMachine("web");
  await startMachine("shop");
  await move("first");
  await untilPhase("first", "Preparing");
  await move("second", { virtualMachine: "shop" });
  const waiting = await stage.untilCondition(virtualMachineMigrations, "second", "Ready", {
    status: "False",
    reason: "TooManyMigrations",
  });
  expect(messageOf(waiting, "Ready")).toBe(
    `It waits for its turn. Node ${HERE} moves one machine at a time (spec.maxParallelMigrations). It is the next.`,
  );
  await say("first", { phase: "Failed" });
  await untilPhase("second", "Preparing");
});

test("a node that is drained is emptied, and what was not begun ends when nobody wants it any more", async () => {
  await startMachine();
  await administer(THERE, { unschedulable: true });
  await administer(HERE, { drain: true });
  const stuck = await waitFor("what keeps the node", async () => {
    const node = await stage.read(hypervisors, HERE);
    const message = messageOf(node, "Drained");
    return message.includes("cordoned") ? message : Promise.reject(new Error(message));
  });
  expect(stuck).toBe(
    `One machine is left. ${cluster.namespace}/web: The only node cannot take the machine: ${THERE} is cordoned (spec.unschedulable).`,
  );
  await administer(HERE, { drain: false });
  await waitFor("no migration", async () =>
    (await namesOf("vmmigration")).length === 0 ? true : Promise.reject(new Error("still there")),
  );
  await administer(THERE, { unschedulable: false });
  await administer(HERE, { drain: true });
  const name = await waitFor("a migration", async () => {
    const [found] = await namesOf("vmmigration");
    return found ?? Promise.reject(new Error("none"));
  });
  await untilPhase(name, "Preparing");
  await say(name, { phase: "Copying" });
  await say(name, { phase: "Switching" });
  await say(name, { phase: "Succeeded" });
  await stage.untilCondition(hypervisors, HERE, "Drained", { status: "True" });
});

test("a machine on shared storage is started elsewhere when its node is silent and said to be off, and not before", async () => {
  const { status } = await startMachine("web", { rootDisk: { pool: "nfs" } });
  await administer(HERE, { outOfService: true });
  await stage.untilCondition(hypervisors, HERE, "Ready", { status: "True" });
  expect((await stage.read(virtualMachines, "web"))?.status?.nodeName).toBe(HERE);
  await agents[0]?.stop();
  const evacuated = await untilOn("web", THERE);
  expect(evacuated.status?.allocation).toEqual(status?.allocation);
  expect(await stage.eventsOn("web")).toContain("Evacuated");
  await stage.untilCondition(virtualMachines, "web", "Ready", { status: "True" });
});

test("a machine of a node with a watchdog is started elsewhere when that has run out, and the node is trusted again when it is back", async () => {
  await startMachine("web", { rootDisk: { pool: "nfs" } });
  const { code } = await cluster.administrator.call({
    method: "PATCH",
    path: `${cluster.pathOf(hypervisors, HERE)}/status`,
    contentType: MERGE_PATCH,
    body: { status: { selfFencing: { graceSeconds: 1, timeoutSeconds: 1 } } },
  });
  expect(code).toBe(200);
  await agents[0]?.stop();
  await stage.untilCondition(virtualMachines, "web", "Ready", { status: "Unknown", reason: "NodeLost" });
  const lost = await stage.read(hypervisors, HERE);
  expect(lost?.status?.conditions?.map(({ type }) => type)).not.toContain("Fenced");
  expect((await stage.read(virtualMachines, "web"))?.status?.nodeName).toBe(HERE);
  await stage.untilCondition(hypervisors, HERE, "Fenced", { status: "True", reason: "SelfFenced" });
  await untilOn("web", THERE);
  const evacuated = await stage.untilCondition(virtualMachines, "web", "Ready", { status: "True" });
  expect(evacuated.status?.guest?.nodeName).toBe(THERE);
  stage.startAgent(HERE, { storagePools: [SHARED] });
  await waitFor(`Hypervisor ${HERE} without Fenced`, async () => {
    const conditions = (await stage.read(hypervisors, HERE))?.status?.conditions ?? [];
    const isBack = conditions.every(
      ({ type, status }) => type !== "Fenced" && (type !== "Ready" || status === "True"),
    );
    return isBack ? true : Promise.reject(new Error(JSON.stringify(conditions)));
  });
});

test("a machine whose disk only the silent node has stays, and says what can be done", async () => {
  await startMachine();
  await administer(HERE, { outOfService: true });
  await agents[0]?.stop();
  const lost = await waitFor("the words of loss", async () => {
    const found = await stage.read(virtualMachines, "web");
    const message = messageOf(found, "Ready");
    return message.includes("snapshots") ? { found, message } : Promise.reject(new Error(message));
  });
  expect(lost.found?.status?.nodeName).toBe(HERE);
  expect(lost.message).toContain("only that node has its root disk (storage pool local), with the snapshots");
});
