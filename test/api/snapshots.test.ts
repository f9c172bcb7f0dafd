import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";

import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { virtualMachineRestores } from "../../src/api/virtual-machine-restore.ts";
import { SNAPSHOT_FINALIZER, virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import { createDiskWorld, type DiskWorld } from "./support/fake-disks.ts";
import { machine, manifests } from "./support/objects.ts";

/** The controllers of snapshots and restores on a real API server, with agents that only say what agents say. */

const NODE = "snap-1";

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

beforeEach(async () => {
  disks = createDiskWorld();
  stage.startAgent(NODE, { disks, leaseDurationMs: 120_000 });
  await stage.untilCondition(hypervisors, NODE, "Ready", { status: "True" });
});

afterEach(async () => {
  await stage.clear();
  for (const kind of ["vmrestore", "vmsnapshot", "volume"])
    await kubectl(["delete", kind, "--all", `--namespace=${cluster.namespace}`]);
});

const object = (kind: string, name: string, spec: object): object => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind,
  metadata: { name },
  spec,
});

const takeSnapshot = (name: string, spec: object = {}) =>
  create(
    cluster,
    virtualMachineSnapshots,
    object("VirtualMachineSnapshot", name, { virtualMachine: "web", ...spec }),
  );

const restore = (name: string, snapshot: string, powerState = "Running") =>
  create(
    cluster,
    virtualMachineRestores,
    object("VirtualMachineRestore", name, { virtualMachine: "web", snapshot, powerState }),
  );

const startMachine = async (spec: object = {}) => {
  await create(cluster, virtualMachines, machine("web", spec));
  return stage.untilCondition(virtualMachines, "web", "Ready", { status: "True" });
};

const untilReady = (name: string) =>
  stage.untilCondition(virtualMachineSnapshots, name, "Ready", { status: "True" });

const untilUnderWay = (
  resource: typeof virtualMachineSnapshots | typeof virtualMachineRestores,
  name: string,
): Promise<boolean> =>
  waitFor(`${resource.kind} ${name} under way`, async () => {
    const { body } = await cluster.administrator.call({
      method: "GET",
      path: cluster.pathOf(resource, name),
    });
    return resource.parse(body).status?.phase === "InProgress";
  });

const remove = (name: string) =>
  kubectl(["delete", "vmsnapshot", name, "--wait=false", `--namespace=${cluster.namespace}`]);

/** Something that makes the agent look again. */
const nudge = (kind: string, name: string) =>
  kubectl(["label", kind, name, "nudged=yes", `--namespace=${cluster.namespace}`]);

const columnsOf = async (kind: string, name: string): Promise<readonly string[]> => {
  const row = await kubectl(["get", kind, name, `--namespace=${cluster.namespace}`, "--no-headers"]);
  return row.trim().split(/\s+/);
};

test("a snapshot is taken on the machine's node, and the machine is put back to it", async () => {
  const { metadata } = await startMachine();
  await takeSnapshot("before");
  const taken = await untilReady("before");
  expect(taken.metadata.finalizers).toEqual([SNAPSHOT_FINALIZER]);
  expect(taken.status).toMatchObject({ nodeName: NODE, machineUid: metadata.uid, phase: "Ready" });
  expect((await columnsOf("vmsnapshot", "before")).slice(0, 6)).toEqual([
    "before",
    "web",
    "Ready",
    "True",
    "Online",
    "false",
  ]);
  await restore("back", "before");
  const over = await stage.untilCondition(virtualMachineRestores, "back", "Ready", { status: "True" });
  expect(over.status).toMatchObject({
    phase: "Succeeded",
    nodeName: NODE,
    machineUid: metadata.uid,
    snapshotUid: taken.metadata.uid,
  });
  await waitFor("the restore no longer held", async () => {
    const found = await stage.read(virtualMachineRestores, "back");
    return (found?.metadata.finalizers ?? []).length === 0;
  });
});

test("snapshots and restores of a machine are begun one after the other, the oldest first", async () => {
  await startMachine();
  await takeSnapshot("base");
  await untilReady("base");
  for (const name of ["first", "back"]) disks.slow.add(name);
  await takeSnapshot("first");
  await untilUnderWay(virtualMachineSnapshots, "first");
  await restore("back", "base");
  const waiting = await stage.untilCondition(virtualMachineRestores, "back", "Ready", {
    status: "False",
    reason: "WaitingForTurn",
  });
  expect(messageOf(waiting, "Ready")).toContain("VirtualMachineSnapshot first");
  // What was made in the same second has no order that users could know.
  await waitFor("another second", () => Date.now() > Date.parse(waiting.metadata.creationTimestamp) + 1000);
  await takeSnapshot("last");
  disks.slow.delete("first");
  await nudge("vmsnapshot", "first");
  await untilReady("first");
  await untilUnderWay(virtualMachineRestores, "back");
  await waitFor("the last one waiting for the restore", async () => {
    const found = await stage.read(virtualMachineSnapshots, "last");
    return messageOf(found, "Ready").includes("VirtualMachineRestore back");
  });
  disks.slow.delete("back");
  await nudge("vmrestore", "back");
  await stage.untilCondition(virtualMachineRestores, "back", "Ready", { status: "True" });
  await untilReady("last");
});

test("a snapshot waits for its machine, and a restore for its snapshot", async () => {
  await restore("back", "before");
  await stage.untilCondition(virtualMachineRestores, "back", "Ready", {
    status: "False",
    reason: "MachineNotFound",
  });
  await takeSnapshot("before");
  await stage.untilCondition(virtualMachineSnapshots, "before", "Ready", {
    status: "False",
    reason: "MachineNotFound",
  });
  const { metadata } = await startMachine();
  expect((await untilReady("before")).status?.machineUid).toBe(metadata.uid);
  await stage.untilCondition(virtualMachineRestores, "back", "Ready", { status: "True" });
});

test("a restore that does not suit the machine is refused for good", async () => {
  await startMachine({ runStrategy: "Halted" });
  await takeSnapshot("before");
  await untilReady("before");
  await restore("back", "before", "Running");
  const refused = await stage.untilCondition(virtualMachineRestores, "back", "Stalled", {
    status: "True",
    reason: "RunStrategyMismatch",
  });
  expect(refused.status).toMatchObject({ phase: "Failed" });
  expect(refused.status?.nodeName).toBeUndefined();
  expect(await columnsOf("vmrestore", "back")).toEqual(
    expect.arrayContaining(["back", "web", "before", "Failed", "False"]),
  );
  await restore("off", "before", "Halted");
  await stage.untilCondition(virtualMachineRestores, "off", "Ready", { status: "True" });
});

test("a snapshot outlives its machine; one that is made anew has nothing to do with it", async () => {
  await startMachine();
  await takeSnapshot("before");
  const taken = await untilReady("before");
  await kubectl(["delete", "vm", "web", `--namespace=${cluster.namespace}`]);
  await create(
    cluster,
    volumes,
    object("Volume", "rescued", { size: "1Gi", source: { snapshot: "before" } }),
  );
  const rescued = await stage.untilCondition(volumes, "rescued", "Ready", { status: "True" });
  expect(rescued.status).toMatchObject({
    nodeName: NODE,
    allocation: { source: { snapshotUid: taken.metadata.uid, machineUid: taken.status?.machineUid } },
  });
  await startMachine();
  await restore("back", "before");
  await stage.untilCondition(virtualMachineRestores, "back", "Stalled", {
    status: "True",
    reason: "OtherMachine",
  });
});

test("a deleted snapshot stays while the machine is put back to it", async () => {
  await startMachine();
  await takeSnapshot("before");
  await untilReady("before");
  disks.slow.add("back");
  await restore("back", "before");
  await untilUnderWay(virtualMachineRestores, "back");
  await remove("before");
  const held = await stage.untilCondition(virtualMachineSnapshots, "before", "InUse", { status: "True" });
  expect(messageOf(held, "InUse")).toContain("VirtualMachineRestore back");
  disks.slow.clear();
  await nudge("vmrestore", "back");
  await waitFor("the snapshot gone", async () => {
    const found = await stage.read(virtualMachineSnapshots, "before");
    if (found !== undefined) throw new Error(JSON.stringify(found.status));
    return true;
  });
});
