import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";

import { findCondition } from "../../src/api/condition.ts";
import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { GUEST_FINALIZER, virtualMachines } from "../../src/api/virtual-machine.ts";
import { type Secret, secrets } from "../../src/kube/index.ts";
import { waitFor } from "../testbed/wait.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import { machine, manifests, PUBLIC_KEY } from "./support/objects.ts";

const run = promisify(execFile);

let stage: ControllerStage;
let cluster: TestCluster;
let kubectl: TestCluster["controlPlane"]["kubectl"];

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

afterEach(() => stage.clear());

const untilGone = (name: string): Promise<boolean> =>
  waitFor(`VirtualMachine ${name} gone`, async () => {
    const found = await stage.read(virtualMachines, name);
    if (found !== undefined) throw new Error(JSON.stringify(found.status?.conditions));
    return true;
  });

const readSecret = async (name: string): Promise<Secret> => {
  const path = `/api/v1/namespaces/${cluster.namespace}/secrets/${name}`;
  return secrets.parse((await cluster.administrator.call({ method: "GET", path })).body);
};

const ofController = (writes: readonly string[]): readonly string[] =>
  writes.filter((write) => write.startsWith("vireo-controller"));

test("a machine lives from apply to deletion, and costs the controller two writes", async () => {
  stage.startAgent("life-1");
  await stage.untilCondition(hypervisors, "life-1", "Ready", { status: "True" });
  await create(cluster, virtualMachines, machine("life"));
  const running = await stage.untilCondition(virtualMachines, "life", "Ready", { status: "True" });

  expect(running.metadata.finalizers).toEqual([GUEST_FINALIZER]);
  expect(running.status).toMatchObject({
    nodeName: "life-1",
    printableStatus: "Running",
    observedGeneration: 1,
    allocation: {
      flavor: { name: "small", vcpus: 1, memoryMiB: 512, diskMiB: 1024 },
      interfaces: [{ network: "lan", address: "10.1.0.2", gateway: "10.1.0.1", prefixLength: 24 }],
      sshPublicKeys: [PUBLIC_KEY],
    },
  });
  const types = (running.status?.conditions ?? []).map(({ type, status }) => `${type}=${status}`).toSorted();
  expect(types).toEqual([
    "FlavorReady=True",
    "ImageReady=True",
    "KeyPairsReady=True",
    "NetworkReady=True",
    "Ready=True",
    "Scheduled=True",
    "SecurityGroupsReady=True",
    "StorageReady=True",
    "VolumesReady=True",
  ]);
  const writes = (await stage.writesTo("life")).slice(1);
  expect(writes).toEqual([
    "vireo-controller patch 200",
    "vireo-controller patch 200",
    "vireo-node-agent patch 200",
  ]);

  await waitFor("the event Scheduled", async () => (await stage.eventsOn("life")).includes("Scheduled"));
  await untilAllocated("lan", 1);
  await kubectl(["delete", "vm", "life", "--wait=false", `--namespace=${cluster.namespace}`]);
  await untilGone("life");
  await untilAllocated("lan", 0);
});

const untilAllocated = (network: string, count: number): Promise<boolean> =>
  waitFor(`${count} addresses of ${network} allocated`, async () => {
    const found = await stage.read(networks, network);
    if (found?.status?.addresses?.allocated !== count) throw new Error(JSON.stringify(found?.status));
    return true;
  });

test("a change of the run strategy is the agent's affair alone", async () => {
  stage.startAgent("strategy-1");
  await create(cluster, virtualMachines, machine("strategy"));
  await stage.untilCondition(virtualMachines, "strategy", "Ready", { status: "True" });
  const before = ofController(await stage.writesTo("strategy"));
  await cluster.administrator.call({
    method: "PATCH",
    path: cluster.pathOf(virtualMachines, "strategy"),
    contentType: "application/merge-patch+json",
    body: { spec: { runStrategy: "Halted" } },
  });
  await waitFor("the agent to have seen it", async () => {
    const found = await stage.read(virtualMachines, "strategy");
    return found?.status?.observedGeneration === 2;
  });
  const after = ofController(await stage.writesTo("strategy"));
  expect(after).toEqual(before);
});

test("a machine that refers to nothing says so, and starts when everything is there", async () => {
  stage.startAgent("late-1");
  await create(
    cluster,
    virtualMachines,
    machine("early", { image: "late", flavor: "late", keyPairs: ["late"], networks: [{ name: "late" }] }),
  );
  const blocked = await stage.untilCondition(virtualMachines, "early", "Ready", {
    status: "False",
    reason: "ImageNotFound",
  });
  expect(blocked.status?.printableStatus).toBe("Pending");
  expect(findCondition(blocked.status?.conditions, "Stalled")).toBeUndefined();
  expect(messageOf(blocked, "FlavorReady")).toBe(
    "Flavor late does not exist. Make it; flavors are cluster-wide.",
  );
  expect(blocked.metadata.finalizers).toBeUndefined();

  await create(cluster, networks, manifests.network("late", "10.2.0.0/29"));
  await create(cluster, keyPairs, manifests.keyPair("late"));
  await create(cluster, flavors, manifests.flavor("late"));
  await create(cluster, images, manifests.image("late"));
  await stage.untilCondition(virtualMachines, "early", "Ready", { status: "True" });
});

test("a machine that no node can take says why, and is placed when a node can", async () => {
  stage.startAgent("full-1", { memoryMiB: 256 });
  stage.startAgent("full-2");
  await stage.untilCondition(hypervisors, "full-1", "Ready", { status: "True" });
  await stage.untilCondition(hypervisors, "full-2", "Ready", { status: "True" });
  await kubectl(["patch", "hv", "full-2", "--type=merge", '-p={"spec":{"unschedulable":true}}']);
  await create(cluster, virtualMachines, machine("waiting"));
  const waiting = await stage.untilCondition(virtualMachines, "waiting", "Scheduled", {
    status: "False",
    reason: "Unschedulable",
  });
  expect(messageOf(waiting, "Scheduled")).toBe(
    "None of 2 nodes can take the machine: full-1 has too little memory free for 512 MiB (it gives out 256 MiB in all); full-2 is cordoned (spec.unschedulable).",
  );
  await waitFor("the event", async () => (await stage.eventsOn("waiting")).includes("FailedScheduling"));
  await kubectl(["patch", "hv", "full-2", "--type=merge", '-p={"spec":{"unschedulable":false}}']);
  const placed = await stage.untilCondition(virtualMachines, "waiting", "Ready", { status: "True" });
  expect(placed.status?.nodeName).toBe("full-2");
});

test("a refused image stalls the Image and the machines that want it", async () => {
  const image = await create(cluster, images, manifests.image("bad"));
  const { uid } = image.metadata;
  stage.startAgent("refuse-1", {
    images: [{ uid, state: "Failed", reason: "ChecksumMismatch", message: "The file is another one." }],
  });
  const refused = await stage.untilCondition(images, "bad", "Stalled", {
    status: "True",
    reason: "ChecksumMismatch",
  });
  expect(messageOf(refused, "Ready")).toBe(
    "Node refuse-1 refused it: The file is another one. Make another Image.",
  );
  await create(cluster, virtualMachines, machine("wants-bad", { image: "bad" }));
  const stalled = await stage.untilCondition(virtualMachines, "wants-bad", "Stalled", { status: "True" });
  expect(stalled.status?.printableStatus).toBe("Failed");
  await kubectl(["delete", "image", "bad", `--namespace=${cluster.namespace}`]);
});

test("a generated key pair is one that OpenSSH reads, and is generated once", async () => {
  await create(
    cluster,
    keyPairs,
    manifests.keyPair("generated", { generate: { secretName: "generated-key" } }),
  );
  const keyPair = await stage.untilCondition(keyPairs, "generated", "Ready", { status: "True" });
  const secret = await readSecret("generated-key");
  expect(secret.type).toBe("kubernetes.io/ssh-auth");
  expect(secret.metadata.ownerReferences).toMatchObject([{ kind: "KeyPair", uid: keyPair.metadata.uid }]);
  const file = join(stage.directory, "generated-key");
  await writeFile(file, Buffer.from(secret.data["ssh-privatekey"] ?? "", "base64"), { mode: 0o600 });
  const publicKey = keyPair.status?.publicKey ?? "";
  expect((await run("ssh-keygen", ["-y", "-f", file])).stdout.trim()).toBe(publicKey);
  expect((await run("ssh-keygen", ["-l", "-f", file])).stdout.split(" ")[1]).toBe(
    keyPair.status?.fingerprint,
  );
  await waitFor("the event", async () => (await stage.eventsOn("generated")).includes("Generated"));

  // What a process that died between the Secret and the status leaves behind.
  await cluster.administrator.call({
    method: "PATCH",
    path: `${cluster.pathOf(keyPairs, "generated")}/status`,
    contentType: "application/merge-patch+json",
    body: { status: null },
  });
  const again = await stage.untilCondition(keyPairs, "generated", "Ready", { status: "True" });
  expect(again.status?.publicKey).toBe(publicKey);
  expect((await readSecret("generated-key")).metadata.resourceVersion).toBe(secret.metadata.resourceVersion);
});

test("a Secret of somebody else is left as it is", async () => {
  await kubectl([
    "create",
    "secret",
    "generic",
    "foreign",
    "--from-literal=a=b",
    `--namespace=${cluster.namespace}`,
  ]);
  await create(cluster, keyPairs, manifests.keyPair("greedy", { generate: { secretName: "foreign" } }));
  const refused = await stage.untilCondition(keyPairs, "greedy", "Stalled", {
    status: "True",
    reason: "SecretExists",
  });
  expect(refused.status?.publicKey).toBeUndefined();
});

test("of two networks that overlap the older is used", async () => {
  await create(cluster, networks, manifests.network("younger", "10.1.0.128/25"));
  const younger = await stage.untilCondition(networks, "younger", "Stalled", {
    status: "True",
    reason: "CIDROverlap",
  });
  expect(messageOf(younger, "Ready")).toContain("of the older Network lan");
  const older = await stage.untilCondition(networks, "lan", "Ready", { status: "True" });
  expect(older.status).toMatchObject({ gateway: "10.1.0.1", addresses: { capacity: 253 } });
  await kubectl(["delete", "network", "younger"]);
});

test("a lost node makes its machines Unknown, and its agent takes them back", async () => {
  const agent = stage.startAgent("lost-1");
  await create(cluster, virtualMachines, machine("survivor"));
  await stage.untilCondition(virtualMachines, "survivor", "Ready", { status: "True" });
  await agent.stop();
  await stage.untilCondition(hypervisors, "lost-1", "Ready", { status: "Unknown", reason: "HeartbeatLost" });
  const lost = await stage.untilCondition(virtualMachines, "survivor", "Ready", {
    status: "Unknown",
    reason: "NodeLost",
  });
  expect(lost.status?.printableStatus).toBe("Unknown");
  expect(lost.status?.allocation?.interfaces[0]?.address).toBe("10.1.0.2");
  agent.start();
  await stage.untilCondition(hypervisors, "lost-1", "Ready", { status: "True" });
  const back = await stage.untilCondition(virtualMachines, "survivor", "Ready", { status: "True" });
  expect(back.status?.printableStatus).toBe("Running");
});

test("a machine on a lost node goes when its Hypervisor is deleted", async () => {
  const agent = stage.startAgent("gone-1");
  await create(cluster, virtualMachines, machine("stranded"));
  await stage.untilCondition(virtualMachines, "stranded", "Ready", { status: "True" });
  await agent.stop();
  await kubectl(["delete", "vm", "stranded", "--wait=false", `--namespace=${cluster.namespace}`]);
  const stranded = await waitFor("the machine to wait for its node", async () => {
    const found = await stage.read(virtualMachines, "stranded");
    if (!messageOf(found, "Ready").includes("delete Hypervisor gone-1"))
      throw new Error(JSON.stringify(found?.status?.conditions));
    return found;
  });
  expect(stranded?.status?.printableStatus).toBe("Terminating");
  await kubectl(["delete", "hypervisor", "gone-1"]);
  await untilGone("stranded");
});
