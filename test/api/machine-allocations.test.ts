import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import { findCondition } from "../../src/api/condition.ts";
import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { MERGE_PATCH } from "./support/api-client.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import { machine, manifests } from "./support/objects.ts";

/** What a machine is given, and asks for later, on a real API server with agents that run nothing. */

let stage: ControllerStage;
let cluster: TestCluster;
/** Namespace of the images that others use. */
let golden: string;

beforeAll(async () => {
  stage = await openControllerStage();
  ({ cluster } = stage);
  golden = `${cluster.namespace}-golden`;
  await cluster.controlPlane.kubectl(["create", "namespace", golden]);
  await stage.addController("controller");
  await create(cluster, flavors, manifests.flavor("small"));
  await create(cluster, images, manifests.image("tiny"));
  await create(cluster, keyPairs, manifests.keyPair("me"));
  await create(cluster, networks, manifests.network("lan", "10.1.0.0/24"));
  await create(cluster, networks, manifests.network("wan", "10.2.0.0/24"));
});

afterAll(async () => {
  await cluster.controlPlane.kubectl(["delete", "namespace", golden, "--wait=false"]);
  await stage.stop();
});

afterEach(() => stage.clear());

const change = (path: string, body: object) =>
  cluster.administrator.call({ method: "PATCH", path, contentType: MERGE_PATCH, body });

const changeSpec = (name: string, spec: object) => change(cluster.pathOf(virtualMachines, name), { spec });

const untilMachine = (
  name: string,
  what: string,
  is: (found: VirtualMachine) => boolean,
): Promise<VirtualMachine> =>
  waitFor(`${name}: ${what}`, async () => {
    const found = await stage.read(virtualMachines, name);
    if (found === undefined || !is(found)) throw new Error(JSON.stringify(found?.status));
    return found;
  });

/** Those that took effect: one that meets a write of the agent's is refused and done anew. */
const controllersWrites = async (name: string): Promise<number> =>
  (await stage.writesTo(name)).filter((write) => write === "vireo-controller patch 200").length;

const running = (name: string): Promise<VirtualMachine> =>
  stage.untilCondition(virtualMachines, name, "Ready", { status: "True" });

describe("A machine that asks for another size", () => {
  test("is given it on its node, in one write", async () => {
    stage.startAgent("resize-1");
    await create(cluster, virtualMachines, machine("grows"));
    const before = (await running("grows")).status?.allocation;
    const writes = await controllersWrites("grows");

    await changeSpec("grows", { vcpus: 2, memory: "1Gi" });
    const after = await untilMachine(
      "grows",
      "2 CPUs",
      ({ status }) => status?.allocation?.flavor.vcpus === 2,
    );

    expect(after.status?.allocation).toEqual({
      ...before,
      flavor: { name: "small", vcpus: 2, maxVcpus: 4, memoryMiB: 1024, maxMemoryMiB: 1024, diskMiB: 1024 },
    });
    expect(findCondition(after.status?.conditions, "ResizePending")).toBeUndefined();
    // The agent's words stay the agent's.
    expect(findCondition(after.status?.conditions, "Ready")?.status).toBe("True");
    expect(await controllersWrites("grows")).toBe(writes + 1);
  });

  test("that its node has no room for is told so, and is given it when another one goes", async () => {
    stage.startAgent("resize-2", { cpus: 1 });
    await create(cluster, virtualMachines, machine("stays"));
    await create(cluster, virtualMachines, machine("goes", { vcpus: 3 }));
    await Promise.all(["stays", "goes"].map(running));

    await changeSpec("stays", { vcpus: 3 });
    const pending = await stage.untilCondition(virtualMachines, "stays", "ResizePending", { status: "True" });
    expect(pending.status?.allocation?.flavor.vcpus).toBe(1);
    expect(messageOf(pending, "ResizePending")).toContain(
      "Node resize-2 has too few virtual CPUs free for 3 (it gives out 4 in all).",
    );

    await cluster.controlPlane.kubectl([
      "delete",
      "vm",
      "goes",
      "--wait=false",
      `--namespace=${cluster.namespace}`,
    ]);
    const granted = await untilMachine(
      "stays",
      "3 CPUs",
      ({ status }) => status?.allocation?.flavor.vcpus === 3,
    );
    expect(findCondition(granted.status?.conditions, "ResizePending")).toBeUndefined();
  });
});

describe("An image of another namespace", () => {
  const make = async (name: string, spec: object): Promise<void> => {
    const path = cluster.pathOf(images).replace(cluster.namespace, golden);
    const { code } = await cluster.administrator.call({
      method: "POST",
      path,
      body: manifests.image(name, spec),
    });
    expect(code).toBe(201);
  };

  const share = (name: string, spec: object) =>
    change(cluster.pathOf(images, name).replace(cluster.namespace, golden), { spec });

  test("that may not be used is told of as one that does not exist, until it is shared", async () => {
    stage.startAgent("share-1");
    await make("secret", { visibility: "Private" });
    const said = await Promise.all(
      ["secret", "none"].map(async (image) => {
        await create(cluster, virtualMachines, machine(`of-${image}`, { image, imageNamespace: golden }));
        const blocked = await stage.untilCondition(virtualMachines, `of-${image}`, "ImageReady", {
          status: "False",
          reason: "ImageNotFound",
        });
        return messageOf(blocked, "ImageReady").replace(`Image ${image} `, "Image X ");
      }),
    );
    expect(said[0]).toBe(said[1]);

    await share("secret", { visibility: "Shared", sharedWith: [cluster.namespace] });
    expect((await running("of-secret")).status?.allocation?.image?.name).toBe("secret");
  });

  test("that is Public can be used by all, and stays when it no longer is", async () => {
    stage.startAgent("share-2");
    await make("open", { visibility: "Public" });
    await create(cluster, virtualMachines, machine("user", { image: "open", imageNamespace: golden }));
    await running("user");
    await share("open", { visibility: "Private" });
    await create(cluster, virtualMachines, machine("late-user", { image: "open", imageNamespace: golden }));
    await stage.untilCondition(virtualMachines, "late-user", "ImageReady", { status: "False" });
    expect(
      findCondition((await stage.read(virtualMachines, "user"))?.status?.conditions, "Ready")?.status,
    ).toBe("True");
  });
});

describe("Networks", () => {
  test("of a machine are in its order, with the addresses that it asks for", async () => {
    stage.startAgent("nets-1");
    await create(
      cluster,
      virtualMachines,
      machine("dual", { networks: [{ name: "wan", address: "10.2.0.77" }, { name: "lan" }] }),
    );
    const { status } = await running("dual");
    expect(status?.allocation?.interfaces.map(({ network, address }) => `${network} ${address}`)).toEqual([
      "wan 10.2.0.77",
      "lan 10.1.0.2",
    ]);
  });

  test("give an address that several ask for at once to one, and to the next when it goes", async () => {
    stage.startAgent("nets-2");
    const names = ["one", "two", "three"];
    const asking = { networks: [{ name: "lan", address: "10.1.0.50" }] };
    await Promise.all(names.map((name) => create(cluster, virtualMachines, machine(name, asking))));

    const untilOneHasIt = (left: readonly string[]): Promise<string> =>
      waitFor("one with the address, the others told", async () => {
        const found = await Promise.all(left.map((name) => stage.read(virtualMachines, name)));
        const holders = found.filter((each) => each?.status?.nodeName !== undefined);
        const told = found.filter(
          (each) => findCondition(each?.status?.conditions, "NetworkReady")?.reason === "AddressTaken",
        );
        const holder = holders[0]?.metadata.name;
        if (holder === undefined || holders.length !== 1 || told.length !== left.length - 1)
          throw new Error(`${holders.length} have it, ${told.length} were told`);
        return holder;
      });

    const first = await untilOneHasIt(names);
    await cluster.controlPlane.kubectl(["delete", "vm", first, `--namespace=${cluster.namespace}`]);
    const second = await untilOneHasIt(names.filter((name) => name !== first));
    expect((await stage.read(virtualMachines, second))?.status?.allocation?.interfaces[0]?.address).toBe(
      "10.1.0.50",
    );
  });
});

describe("Disks of the cluster", () => {
  test("are copied where they are: a machine of a machine, and an image of a machine for all nodes", async () => {
    stage.startAgent("disks-1");
    await create(cluster, virtualMachines, machine("original"));
    const original = await running("original");
    const machineUid = original.metadata.uid;
    stage.startAgent("disks-2", { cpus: 64, memoryMiB: 65_536 });
    await stage.untilCondition(hypervisors, "disks-2", "Ready", { status: "True" });

    await create(
      cluster,
      virtualMachines,
      machine("copy", { image: undefined, source: { virtualMachine: "original" } }),
    );
    const copy = await running("copy");
    expect(copy.status?.nodeName).toBe("disks-1");
    expect(copy.status?.allocation).toMatchObject({ source: { machineUid } });
    expect(copy.status?.allocation?.image).toBeUndefined();

    const image = await create(
      cluster,
      images,
      manifests.image("made", { source: { virtualMachine: "original" } }),
    );
    const making = await stage.untilCondition(images, "made", "Ready", { status: "False", reason: "Making" });
    expect(making.status?.origin).toEqual({ nodeName: "disks-1", disk: { machineUid } });

    await create(cluster, virtualMachines, machine("of-made", { image: "made" }));
    await stage.untilCondition(virtualMachines, "of-made", "ImageReady", {
      status: "False",
      reason: "ImageNotReady",
    });
    const checksum = `sha256:${"a".repeat(64)}`;
    await change(`${cluster.pathOf(hypervisors, "disks-1")}/status`, {
      status: { images: [{ uid: image.metadata.uid, state: "Ready", checksum }] },
    });
    const { status } = await running("of-made");
    expect(status?.nodeName).toBe("disks-2");
    expect(status?.allocation?.image).toMatchObject({ nodeName: "disks-1", checksum });
  });

  test("are given to a machine beside its root disk while it runs", async () => {
    stage.startAgent("disks-3");
    await create(cluster, virtualMachines, machine("server", { volumes: [{ name: "data" }] }));
    const waiting = await stage.untilCondition(virtualMachines, "server", "VolumesReady", {
      status: "False",
      reason: "VolumeNotFound",
    });
    expect(waiting.status?.nodeName).toBeUndefined();

    const data = await create(cluster, volumes, manifests.volume("data", { size: "1Gi" }));
    const started = await running("server");
    expect(started.status?.allocation?.volumes).toEqual([{ name: "data", uid: data.metadata.uid }]);
    await waitFor("the Volume on the machine's node", async () => {
      const found = await stage.read(volumes, "data");
      if (found?.status?.nodeName !== "disks-3") throw new Error(JSON.stringify(found?.status));
      return found;
    });

    await changeSpec("server", { volumes: [] });
    await untilMachine("server", "without it", ({ status }) => status?.allocation?.volumes === undefined);
    await cluster.controlPlane.kubectl([
      "delete",
      "volume",
      "data",
      "--wait=false",
      `--namespace=${cluster.namespace}`,
    ]);
  });
});
