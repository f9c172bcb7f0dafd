import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";

import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { type Volume, VOLUME_FINALIZER, volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { MERGE_PATCH } from "./support/api-client.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import { createDiskWorld, type DiskWorld } from "./support/fake-disks.ts";
import { machine, manifests } from "./support/objects.ts";

/** The controller of Volumes on a real API server, with agents that only say what agents say. */

let stage: ControllerStage;
let cluster: TestCluster;
let kubectl: TestCluster["controlPlane"]["kubectl"];
let disks: DiskWorld;

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

beforeEach(() => {
  disks = createDiskWorld();
});

afterEach(async () => {
  await stage.clear();
  await kubectl(["delete", "volumes", "--all", `--namespace=${cluster.namespace}`]);
});

const volume = (name: string, spec: object = {}): object => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "Volume",
  metadata: { name },
  spec: { size: "1Gi", ...spec },
});

const startAgent = async (nodeName: string, leaseDurationMs = 120_000) => {
  const agent = stage.startAgent(nodeName, { disks, leaseDurationMs });
  await stage.untilCondition(hypervisors, nodeName, "Ready", { status: "True" });
  return agent;
};

const patchSpec = async (name: string, spec: object, resource: typeof virtualMachines | typeof volumes) => {
  const path = cluster.pathOf(resource, name);
  const call = { method: "PATCH", path, contentType: MERGE_PATCH, body: { spec } } as const;
  expect((await cluster.administrator.call(call)).code).toBe(200);
};

const attach = (name: string, ...names: readonly string[]) =>
  patchSpec(name, { volumes: names.map((each) => ({ name: each })) }, virtualMachines);

const remove = (name: string) =>
  cluster.administrator.call({ method: "DELETE", path: cluster.pathOf(volumes, name) });

/** Waits until the Volume's status is like that. */
const untilStatus = (name: string, expected: object): Promise<Volume | undefined> =>
  waitFor(`Volume ${name} as expected`, async () => {
    const found = await stage.read(volumes, name);
    expect(found?.status).toMatchObject(expected);
    return found;
  });

const untilGone = (name: string): Promise<boolean> =>
  waitFor(`Volume ${name} gone`, async () => {
    const found = await stage.read(volumes, name);
    if (found !== undefined) throw new Error(JSON.stringify(found.status));
    return true;
  });

const untilHeldBy = (name: string, machineName: string) =>
  untilStatus(name, { phase: "InUse", attachedTo: { name: machineName } });

test("a Volume waits for its first machine, is made beside it, and outlives it", async () => {
  await startAgent("first-1");
  await create(cluster, volumes, volume("data"));
  const waiting = await stage.untilCondition(volumes, "data", "Ready", {
    status: "False",
    reason: "WaitForFirstConsumer",
  });
  expect(waiting.metadata.finalizers).toEqual([VOLUME_FINALIZER]);
  await create(cluster, virtualMachines, machine("first", { volumes: [{ name: "data" }] }));
  await untilStatus("data", {
    phase: "InUse",
    nodeName: "first-1",
    attachedTo: { name: "first" },
    sizeMiB: 1024,
  });
  const { status } = await stage.untilCondition(virtualMachines, "first", "VolumesReady", { status: "True" });
  expect(status?.allocation?.volumes).toEqual([{ name: "data", uid: waiting.metadata.uid }]);
  expect(await stage.eventsOn("data")).toContain("Reserved");

  const row = await kubectl(["get", "volume", "data", `--namespace=${cluster.namespace}`, "--no-headers"]);
  expect(row.trim().split(/\s+/).slice(0, -1)).toEqual(["data", "InUse", "True", "1Gi", "first", "first-1"]);

  await kubectl(["delete", "vm", "first", `--namespace=${cluster.namespace}`]);
  const free = await untilStatus("data", { phase: "Available", nodeName: "first-1" });
  expect(free?.status?.attachedTo).toBeUndefined();
});

test("one machine has it at a time, and it goes on when the guest has let go of it", async () => {
  await startAgent("one-1");
  disks.stubborn.add("data");
  await create(cluster, volumes, volume("data"));
  await create(cluster, virtualMachines, machine("one", { volumes: [{ name: "data" }] }));
  await untilHeldBy("data", "one");
  await create(cluster, virtualMachines, machine("other", { volumes: [{ name: "data" }] }));
  const waiting = await stage.untilCondition(virtualMachines, "other", "VolumesReady", {
    status: "False",
    reason: "VolumeInUse",
  });
  expect(messageOf(waiting, "VolumesReady")).toContain("in use by VirtualMachine one");

  await attach("one");
  const detaching = await stage.untilCondition(virtualMachines, "one", "VolumesReady", {
    status: "False",
    reason: "DetachPending",
  });
  expect(detaching.status?.allocation?.volumes ?? []).toEqual([]);
  await untilHeldBy("data", "one");

  disks.stubborn.clear();
  // Something that makes the agent look again.
  await patchSpec("one", { terminationGracePeriodSeconds: 5 }, virtualMachines);
  await untilHeldBy("data", "other");
  await stage.untilCondition(virtualMachines, "other", "VolumesReady", { status: "True" });
});

test("a Volume that a machine has is not deleted before the machine lets go of it", async () => {
  await startAgent("kept-1");
  await create(cluster, volumes, volume("data"));
  await create(cluster, virtualMachines, machine("keeper", { volumes: [{ name: "data" }] }));
  await untilHeldBy("data", "keeper");
  await remove("data");
  const held = await stage.untilCondition(volumes, "data", "InUse", { status: "True", reason: "Attached" });
  expect(messageOf(held, "InUse")).toContain("keeper. Take it out of spec.volumes there.");
  expect(held.status).toMatchObject({ phase: "InUse", attachedTo: { name: "keeper" } });
  await attach("keeper");
  await untilGone("data");
});

test("a Volume is made of a snapshot or of another Volume where that is", async () => {
  await startAgent("copy-1");
  await startAgent("copy-2");
  await create(cluster, volumes, volume("golden"));
  await create(cluster, virtualMachines, machine("maker", { volumes: [{ name: "golden" }] }));
  const golden = await untilHeldBy("golden", "maker");
  await create(cluster, volumes, volume("copy", { source: { volume: "golden" } }));
  await untilStatus("copy", {
    phase: "Available",
    nodeName: golden?.status?.nodeName,
    allocation: { source: { volumeUid: golden?.metadata.uid } },
  });
  await create(cluster, volumes, volume("small", { size: "512Mi", source: { volume: "golden" } }));
  await stage.untilCondition(volumes, "small", "Stalled", { status: "True", reason: "TooSmall" });
  await patchSpec("small", { size: "1Gi" }, volumes);
  const grown = await untilStatus("small", { phase: "Available", nodeName: golden?.status?.nodeName });
  expect(grown?.status?.conditions?.map(({ type }) => type)).toEqual(["Ready"]);
});

test("retained data are taken over in their namespace, once, and nowhere else", async () => {
  await startAgent("retain-1");
  await create(cluster, volumes, volume("old", { deletionPolicy: "Retain" }));
  await create(cluster, virtualMachines, machine("writer", { volumes: [{ name: "old" }] }));
  const old = await untilHeldBy("old", "writer");
  const uid = old?.metadata.uid;
  await attach("writer");
  await remove("old");
  await untilGone("old");
  await waitFor("the event Retained", async () => (await stage.eventsOn("old")).includes("Retained"));

  const foreign = `${cluster.namespace}-b`;
  await kubectl(["create", "namespace", foreign]);
  const reply = await cluster.administrator.call({
    method: "POST",
    path: cluster.pathOf(volumes).replace(cluster.namespace, foreign),
    body: volume("thief", { source: { retained: uid } }),
  });
  expect(reply.code).toBe(201);
  await create(cluster, volumes, volume("heir", { source: { retained: uid } }));
  await untilStatus("heir", {
    phase: "Available",
    nodeName: "retain-1",
    allocation: { retainedUid: uid },
  });
  await create(cluster, volumes, volume("late", { source: { retained: uid } }));
  await stage.untilCondition(volumes, "late", "Ready", { status: "False" });
  expect(
    await kubectl(["get", "volume", "thief", `--namespace=${foreign}`, "--output=jsonpath={.status}"]),
  ).toContain("RetainedNotFound");
  await kubectl(["delete", "namespace", foreign, "--wait=false"]);
});

test("nobody knows how a Volume is whose node is silent, and it goes with a node that is gone for good", async () => {
  const agent = await startAgent("silent-1", 2_000);
  await create(cluster, volumes, volume("data"));
  await create(cluster, virtualMachines, machine("lonely", { volumes: [{ name: "data" }] }));
  await untilHeldBy("data", "lonely");
  await agent.stop();
  await untilStatus("data", { phase: "Unknown", nodeName: "silent-1", attachedTo: { name: "lonely" } });
  await stage.untilCondition(volumes, "data", "Ready", { status: "Unknown", reason: "NodeLost" });
  agent.start();
  await untilHeldBy("data", "lonely");
  await stage.untilCondition(volumes, "data", "Ready", { status: "True" });

  await agent.stop();
  await kubectl(["delete", "hypervisor", "silent-1"]);
  await kubectl(["delete", "vm", "lonely", `--namespace=${cluster.namespace}`]);
  await remove("data");
  expect(await untilGone("data")).toBe(true);
  await waitFor("the event NodeRemoved", async () => (await stage.eventsOn("data")).includes("NodeRemoved"));
});

test("a Volume costs few writes", async () => {
  await startAgent("few-1");
  await create(cluster, volumes, volume("data"));
  await stage.untilCondition(volumes, "data", "Ready", { status: "False" });
  await create(cluster, virtualMachines, machine("few", { volumes: [{ name: "data" }] }));
  const settled = await untilHeldBy("data", "few");
  await stage.untilCondition(virtualMachines, "few", "Ready", { status: "True" });
  const later = await stage.read(volumes, "data");
  expect(later?.metadata.resourceVersion).toBe(settled?.metadata.resourceVersion);
});
