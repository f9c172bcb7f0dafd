import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import type { Image } from "../../../src/api/image.ts";
import type { KubernetesObject } from "../../../src/api/meta.ts";
import type { VirtualMachineSnapshot } from "../../../src/api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Volume } from "../../../src/api/volume.ts";
import type { Stores } from "../../../src/controllers/context.ts";
import { machineIndexes, volumeIndexes } from "../../../src/controllers/stores.ts";
import { decideMachine } from "../../../src/controllers/virtual-machine/decide.ts";
import { createLedger } from "../../../src/controllers/virtual-machine/ledger.ts";
import { observeMachine } from "../../../src/controllers/virtual-machine/observe.ts";
import { createReservations } from "../../../src/controllers/virtual-machine/reservations.ts";
import { formatKey, keyOf } from "../../../src/kube/index.ts";
import { agentsWords, LEAVING, stepsOf } from "./machine-facts.ts";
import {
  allocationWith,
  flavorWith,
  guestOn,
  hypervisorWith,
  imageWith,
  keyPairWith,
  lostHypervisor,
  machineCopying,
  machineWith,
  NOW,
  numberedNetwork,
  placedMachine,
  readyCondition,
  snapshotWith,
  uidOf,
  volumeOf,
} from "./objects.ts";
import { storeOf } from "./still-store.ts";

interface World {
  readonly machines?: readonly VirtualMachine[];
  readonly images?: readonly Image[];
  readonly hypervisors?: readonly Hypervisor[];
  readonly volumes?: readonly Volume[];
  readonly snapshots?: readonly VirtualMachineSnapshot[];
}

/** As storeOf, and tells namespaces apart. */
const namespaced = <T extends KubernetesObject>(
  objects: readonly T[],
  indexes: Parameters<typeof storeOf<T>>[1] = {},
) => ({
  ...storeOf(objects, indexes),
  get: (key: Parameters<typeof formatKey>[0]) =>
    objects.find((object) => formatKey(keyOf(object)) === formatKey(key)),
});

const lan = numberedNetwork();
const wan = numberedNetwork({ cidr: "10.9.0.0/24" }, { name: "wan", uid: uidOf("wan") }, 2);

const storesOf = ({ machines = [], images = [imageWith()], volumes = [], ...world }: World): Stores =>
  ({
    virtualMachines: namespaced(machines, machineIndexes),
    images: namespaced(images),
    volumes: namespaced(volumes, volumeIndexes),
    virtualMachineSnapshots: namespaced(world.snapshots ?? []),
    virtualMachineMigrations: storeOf([]),
    flavors: storeOf([flavorWith()]),
    keyPairs: namespaced([keyPairWith(), keyPairWith(undefined, { namespace: "shop" })]),
    networks: storeOf([lan, wan]),
    hypervisors: storeOf(world.hypervisors ?? [hypervisorWith()]),
    securityGroups: storeOf([]),
  }) as unknown as Stores;

/** A controller's memory that decides about one machine after the other, over stores that do not move. */
const deciding = (world: World) => {
  const stores = storesOf(world);
  const reservations = createReservations();
  const memory = { reservations, ledger: createLedger(stores, reservations), seenForMs: () => 1000 };
  return (machine: VirtualMachine) => {
    const facts = observeMachine(stores, memory, keyOf(machine));
    if (facts === undefined) throw new Error("it is not there");
    const decision = decideMachine(facts, NOW);
    if (decision.reserve !== undefined) reservations.hold(machine.metadata.uid, decision.reserve);
    const placement = decision.reserve?.kind === "placement" ? decision.reserve : undefined;
    const write = decision.steps.find((step) => step.kind === "apply-status");
    const refusals = (write?.status.conditions ?? [])
      .filter(({ type, status }) => type !== "Ready" && status === "False")
      .map(({ reason }) => reason);
    return { nodeName: placement?.nodeName, allocation: placement?.allocation, refusals };
  };
};

const placed = (world: World, machine: VirtualMachine) =>
  deciding({ ...world, machines: [...(world.machines ?? []), machine] })(machine);

describe("A machine's networks", () => {
  const dual = (networks: VirtualMachine["spec"]["networks"]): VirtualMachine => machineWith({ networks });

  test("are in the order of its spec, each with an address and a card of its own", () => {
    const { allocation } = placed(
      {},
      dual([
        { name: "wan", allowedAddresses: [] },
        { name: "lan", address: "10.0.0.77", allowedAddresses: [] },
      ]),
    );
    expect(allocation?.interfaces).toMatchObject([
      { network: "wan", address: "10.9.0.2", gateway: "10.9.0.1", vni: 2 },
      { network: "lan", address: "10.0.0.77", gateway: "10.0.0.1", vni: 1 },
    ]);
    expect(new Set(allocation?.interfaces.map(({ macAddress }) => macAddress)).size).toBe(2);
  });

  test("give the same card to the same machine in the same network, whatever other networks it has", () => {
    const alone = placed({}, dual([{ name: "lan", allowedAddresses: [] }])).allocation?.interfaces[0];
    const second = placed(
      {},
      dual([
        { name: "wan", allowedAddresses: [] },
        { name: "lan", allowedAddresses: [] },
      ]),
    ).allocation?.interfaces[1];
    expect(second?.macAddress).toBe(alone?.macAddress);
  });
});

describe("An address that a machine asks for", () => {
  const asking = (name: string, address?: string): VirtualMachine =>
    machineWith(
      { networks: [{ name: "lan", allowedAddresses: [], ...(address !== undefined && { address }) }] },
      { name, uid: uidOf(name) },
    );

  test("is left to it by those that ask for none", () => {
    const [first, second] = [asking("any"), asking("db", "10.0.0.2")];
    const decide = deciding({ machines: [first, second] });
    expect(decide(first).allocation?.interfaces[0]?.address).toBe("10.0.0.3");
    expect(decide(second).allocation?.interfaces[0]?.address).toBe("10.0.0.2");
  });

  test("is not given to it when another machine has it", () => {
    const other = placedMachine({}, { name: "other", uid: uidOf("other") });
    expect(placed({ machines: [other] }, asking("db", "10.0.0.2")).refusals).toEqual([
      "AddressTaken",
      "PrerequisitesMissing",
    ]);
  });

  test("is given to one, whoever asks for what and in whatever order", () => {
    const anyWish = fc.constantFrom(undefined, "10.0.0.2", "10.0.0.3", "10.0.0.250");
    const capacity = { cpus: 64, memoryMiB: 65_536, diskMiB: 1_000_000 };
    const hypervisors = [hypervisorWith({ capacity })];
    fc.assert(
      fc.property(fc.array(anyWish, { minLength: 1, maxLength: 10 }), (wishes) => {
        const machines = wishes.map((wish, index) => asking(`vm-${index}`, wish));
        const decide = deciding({ machines, hypervisors });
        const given = machines.map((machine) => decide(machine).allocation?.interfaces[0]?.address);
        const addresses = given.filter((address) => address !== undefined);
        expect(new Set(addresses).size).toBe(addresses.length);
        for (const wish of wishes) if (wish !== undefined) expect(given).toContain(wish);
        expect(
          given.filter((address, index) => address === undefined && wishes[index] === undefined),
        ).toEqual([]);
      }),
      { examples: [[Array.from({ length: 10 }, () => undefined)]] },
    );
  });
});

describe("An image of another namespace", () => {
  const golden = (visibility: Image["spec"]["visibility"], sharedWith: string[] = []): Image =>
    imageWith({ visibility, sharedWith }, { namespace: "golden", uid: uidOf(`golden ${visibility}`) });
  const user = machineWith({ imageNamespace: "golden" }, { namespace: "shop" });

  test.each<[string, readonly Image[], boolean]>([
    ["places a machine when it is Public", [golden("Public")], true],
    ["places a machine of a namespace that it is Shared with", [golden("Shared", ["shop"])], true],
    ["does not place a machine when it is Private", [golden("Private")], false],
    [
      "does not place a machine when there is only one of the name in its own namespace",
      [imageWith({}, { namespace: "shop" })],
      false,
    ],
  ])("%s", (_, images, isPlaced) => {
    const { allocation, refusals } = placed({ images }, user);
    expect(allocation !== undefined).toBe(isPlaced);
    expect(refusals.includes("ImageNotFound")).toBe(!isPlaced);
  });
});

const nodes = ["node-1", "node-2", "node-3"].map((name, index) =>
  hypervisorWith(
    {
      capacity: { cpus: 8 * (index + 1), memoryMiB: 8192 * (index + 1), diskMiB: 100_000 },
      storagePools:
        name === "node-1"
          ? []
          : [{ name: "nfs", shared: true, wipe: "None", capacityMiB: 50_000, availableMiB: 1 }],
    },
    { name, uid: uidOf(name) },
  ),
);

describe("A machine whose data are on a node", () => {
  const source = placedMachine(
    { guest: guestOn(), conditions: [{ ...readyCondition("True", "RootDiskReady"), type: "StorageReady" }] },
    { name: "golden", uid: uidOf("golden") },
  );
  const naming = machineWith({ volumes: [{ name: "data", bus: "VirtIO" }] });

  test.each<[string, World, VirtualMachine, string]>([
    ["goes where there is most room when it has none", {}, machineWith(), "node-3"],
    ["goes to the machine that it is a copy of", { machines: [source] }, machineCopying("golden"), "node-1"],
    ["goes to its Volume", { volumes: [volumeOf("data", naming, { nodeName: "node-2" })] }, naming, "node-2"],
    ["takes a Volume along that has no node", { volumes: [volumeOf("data", naming)] }, naming, "node-3"],
    [
      "goes to any node that can read its Volume",
      { volumes: [volumeOf("data", naming, { nodeName: "node-2" }, { pool: "nfs" })] },
      naming,
      "node-3",
    ],
  ])("%s", (_, world, machine, expected) => {
    expect(placed({ hypervisors: nodes, ...world }, machine).nodeName).toBe(expected);
  });

  test("is given the disk to copy by its UID, and no image", () => {
    const { allocation } = placed({ machines: [source] }, machineCopying("golden"));
    expect(allocation).toMatchObject({ source: { machineUid: uidOf("golden") } });
    expect(allocation).not.toHaveProperty("image");
  });

  test("can be a copy of a snapshot whose machine is gone", () => {
    const snapshot = snapshotWith({
      nodeName: "node-2",
      machineUid: uidOf("gone"),
      conditions: [readyCondition("True", "Ready")],
      disks: [{ name: "root", sizeMiB: 1024 }],
    });
    const machine = machineCopying("unused");
    const restored = { ...machine, spec: { ...machine.spec, source: { snapshot: "before" } } };
    expect(placed({ hypervisors: nodes, snapshots: [snapshot] }, restored)).toMatchObject({
      nodeName: "node-2",
      allocation: { source: { machineUid: uidOf("gone"), snapshotUid: snapshot.metadata.uid } },
    });
  });

  test("keeps its root disk in the storage pool that it names, on a node that has it", () => {
    const pooled = machineWith({ rootDisk: { pool: "nfs" } });
    expect(placed({ hypervisors: nodes.slice(0, 2) }, pooled)).toMatchObject({
      nodeName: "node-2",
      allocation: { pool: "nfs" },
    });
    expect(placed({ hypervisors: nodes.slice(0, 1) }, pooled).refusals).toEqual(["Unschedulable"]);
  });

  test("does not go where its new Volumes have no room", () => {
    const volume = volumeOf("data", naming, {}, { size: "200Gi" });
    expect(placed({ volumes: [volume] }, naming).refusals).toEqual(["Unschedulable"]);
  });
});

describe("A Volume that cannot be understood", () => {
  const odd = { name: "odd", bus: "VirtIO" as const };
  const given = [{ name: "odd", uid: uidOf("odd") }];

  const stepsFor = (machine: VirtualMachine, hypervisor = hypervisorWith()) => {
    const naming = { ...machine, spec: { ...machine.spec, volumes: [odd] } };
    const world = storesOf({ machines: [naming], hypervisors: [hypervisor] });
    const stores = { ...world, volumes: storeOf<Volume>([], {}, ["odd"]) };
    const reservations = createReservations();
    const memory = { reservations, ledger: createLedger(stores, reservations), seenForMs: () => 1000 };
    const facts = observeMachine(stores, memory, keyOf(naming));
    return facts === undefined ? [] : stepsOf(decideMachine(facts, NOW));
  };

  const running = { ...agentsWords(), allocation: { ...allocationWith(), volumes: given } };

  test("is not taken from a guest that has it", () => {
    expect(stepsFor(placedMachine(running))).toEqual([]);
  });

  test("does not keep its machine from being told of as lost", () => {
    expect(stepsFor(placedMachine(running), lostHypervisor())).toEqual(["apply-status", "Warning NodeLost"]);
  });

  test("does not keep its machine from being let go", () => {
    const conditions = [{ ...readyCondition("True", "Released"), type: "Released" }];
    const leaving = placedMachine({ ...running, conditions }, LEAVING);
    expect(stepsFor(leaving)).toEqual(["remove-finalizer"]);
  });
});
