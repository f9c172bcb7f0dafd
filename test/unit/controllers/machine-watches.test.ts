import { describe, expect, test } from "@jest/globals";
import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import type { KeyPair } from "../../../src/api/key-pair.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Volume } from "../../../src/api/volume.ts";
import type { Stores } from "../../../src/controllers/context.ts";
import { machineIndexes } from "../../../src/controllers/stores.ts";
import {
  machinesAfterFlavor,
  machinesAfterHypervisor,
  machinesAfterImage,
  machinesAfterMachine,
  machinesAfterNetwork,
  machinesAfterReference,
  machinesAfterSnapshot,
  machinesAfterVolume,
} from "../../../src/controllers/virtual-machine/watches.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../../src/kube/index.ts";
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
  networkWith,
  numberedNetwork,
  placedMachine,
  readyCondition,
  snapshotWith,
  volumeWith,
} from "./objects.ts";

const waiting = machineWith({}, { name: "waiting" });
const elsewhere = machineWith({}, { name: "waiting", namespace: "other" });
const settled = placedMachine({}, { name: "settled" });

const storesWith = (machines: readonly VirtualMachine[], hypervisors: readonly Hypervisor[] = []): Stores =>
  ({
    virtualMachines: {
      byIndex: (index: keyof typeof machineIndexes, value: string) =>
        machines.filter((machine) => machineIndexes[index](machine).includes(value)),
    },
    hypervisors: { list: () => hypervisors },
  }) as unknown as Stores;

const stores = storesWith([waiting, elsewhere, settled]);

const change = <
  T extends { readonly metadata: { readonly name: string; readonly namespace?: string | undefined } },
>(
  before: T | undefined,
  after: T | undefined,
): Change<T> => {
  const key = keyOf((after ?? before) as T);
  return { key, unreadable: false, ...(before && { before }), ...(after && { after }) };
};

const names = (keys: readonly ObjectKey[]): readonly string[] => [...new Set(keys.map(formatKey))].toSorted();

const ALL_WAITING = ["default/waiting", "other/waiting"];

describe("A change of a machine concerns", () => {
  test.each<[string, Change<VirtualMachine>, readonly string[]]>([
    ["the machine alone when it is new", change(undefined, waiting), ["default/waiting"]],
    [
      "the machine alone when it was placed",
      change(machineWith({}, { name: "settled" }), settled),
      ["default/settled"],
    ],
    [
      "all that wait when a placed one is gone",
      change(settled, undefined),
      ["default/settled", ...ALL_WAITING],
    ],
    ["nobody else when one that waited is gone", change(waiting, undefined), ["default/waiting"]],
    [
      "all that wait when a placed one was made anew under its name",
      change(settled, machineWith({}, { name: "settled", uid: "another" })),
      ["default/settled", ...ALL_WAITING],
    ],
    [
      "the machine alone when it cannot be understood any more: it still has what it was given",
      { key: keyOf(settled), before: settled, unreadable: true },
      ["default/settled"],
    ],
  ])("%s", (_, given, expected) => {
    expect(names(machinesAfterMachine(stores, given))).toEqual([...expected].toSorted());
  });
});

describe("A change of a node concerns", () => {
  test.each<[string, Change<Hypervisor>, boolean]>([
    ["its machines too when it is lost", change(hypervisorWith(), lostHypervisor()), true],
    ["its machines too when it is back", change(lostHypervisor(), hypervisorWith()), true],
    ["its machines too when it is removed", change(hypervisorWith(), undefined), true],
    ["its machines too when it comes", change(undefined, hypervisorWith()), true],
    [
      "those that wait only, when it changed otherwise",
      change(hypervisorWith(), hypervisorWith({ zone: "x" })),
      false,
    ],
  ])("%s", (_, given, ownToo) => {
    const expected = [...ALL_WAITING, ...(ownToo ? ["default/settled"] : [])];
    expect(names(machinesAfterHypervisor(stores, given))).toEqual(expected.toSorted());
  });
});

describe("A change of what machines refer to concerns", () => {
  const after = machinesAfterReference<KeyPair>(stores, ({ spec }, name) => spec.keyPairs.includes(name));

  test("those that wait in its namespace and name it", () => {
    expect(names(after(change(undefined, keyPairWith())))).toEqual(["default/waiting"]);
  });

  test("nobody when nobody that waits names it", () => {
    expect(after(change(undefined, keyPairWith(undefined, { name: "another" })))).toEqual([]);
  });

  test("all that name it when it is a flavor that comes, on nodes too: it may be their next size", () => {
    expect(names(machinesAfterFlavor(stores, change(undefined, flavorWith())))).toEqual(
      [...ALL_WAITING, "default/settled"].toSorted(),
    );
    expect(machinesAfterFlavor(stores, change(flavorWith(), { ...flavorWith(), status: {} }))).toEqual([]);
  });

  test("all that wait when a network comes or goes, since that may end an overlap of others", () => {
    expect(names(machinesAfterNetwork(stores, change(networkWith(), undefined)))).toEqual(ALL_WAITING);
  });

  test("all that wait when a network is given its number", () => {
    expect(names(machinesAfterNetwork(stores, change(networkWith(), numberedNetwork())))).toEqual(
      ALL_WAITING,
    );
  });

  test("nobody when only a network's own count has changed", () => {
    const counted = { ...networkWith(), status: { addresses: { capacity: 253, allocated: 1 } } };
    expect(machinesAfterNetwork(stores, change(networkWith(), counted))).toEqual([]);
  });
});

describe("A change of an Image concerns", () => {
  const abroad = machineWith({ imageNamespace: "default" }, { name: "abroad", namespace: "other" });
  const inserted = { ...settled, spec: { ...settled.spec, cdroms: [{ image: "iso" }] } };
  const these = storesWith([waiting, elsewhere, abroad, inserted]);

  test("those that wait for it, from other namespaces too", () => {
    expect(names(machinesAfterImage(these, change(undefined, imageWith())))).toEqual([
      "default/waiting",
      "other/abroad",
    ]);
  });

  test("those on nodes that have it as a CD-ROM", () => {
    expect(names(machinesAfterImage(these, change(undefined, imageWith({}, { name: "iso" }))))).toEqual([
      "default/settled",
    ]);
  });
});

describe("A change of a disk concerns", () => {
  const naming = {
    ...settled,
    spec: { ...settled.spec, volumes: [{ name: "data", bus: "VirtIO" as const }] },
  };
  const clone = machineWith({ source: { volume: "data" } }, { name: "clone" });
  const these = storesWith([waiting, naming, clone, machineCopying("settled", { name: "copy" })]);
  const data = volumeWith({}, {}, { nodeName: "node-1" });

  test.each<[string, Change<Volume>, readonly string[]]>([
    [
      "those that name the Volume, on nodes too, and those that start as a copy of it",
      change(undefined, data),
      ["default/clone", "default/settled"],
    ],
    [
      "only those that wait for a copy, when it is further copied itself",
      change(data, { ...data, status: { ...data.status, progressPercent: 7 } }),
      ["default/clone"],
    ],
    [
      "all that wait for room when the Volume is gone",
      change(data, undefined),
      ["default/clone", "default/copy", "default/settled", "default/waiting"],
    ],
  ])("%s", (_, given, expected) => {
    expect(names(machinesAfterVolume(these, given))).toEqual(expected);
  });

  test("those that start as a copy of the machine", () => {
    expect(names(machinesAfterMachine(these, change(naming, naming)))).toEqual([
      "default/copy",
      "default/settled",
    ]);
  });

  test("those that start as a disk in the snapshot", () => {
    const restored = storesWith([machineWith({ source: { snapshot: "before" } }, { name: "restored" })]);
    expect(names(machinesAfterSnapshot(restored, change(undefined, snapshotWith())))).toEqual([
      "default/restored",
    ]);
  });
});

describe("Room on a node", () => {
  const large = placedMachine({ allocation: allocationWith("10.0.0.2", { vcpus: 4 }) }, { name: "large" });
  const pending = placedMachine(
    { conditions: [{ ...readyCondition("True", "InsufficientCapacity"), type: "ResizePending" }] },
    { name: "pending" },
  );
  const these = storesWith([waiting, large, pending]);
  const IN_WANT = ["default/pending", "default/waiting"];

  test.each<[string, VirtualMachine | undefined, readonly string[]]>([
    ["is told of when a machine is gone", undefined, IN_WANT],
    [
      "is told of when a machine has become smaller",
      { ...large, status: { ...large.status, allocation: allocationWith() } },
      IN_WANT,
    ],
    [
      "is not told of while the guest of a machine that has become smaller still has what it had",
      {
        ...large,
        status: { ...large.status, allocation: allocationWith(), guest: { ...guestOn(), vcpus: 4 } },
      },
      [],
    ],
    [
      "is not told of when a machine has become larger",
      { ...large, status: { ...large.status, allocation: allocationWith("10.0.0.2", { vcpus: 5 }) } },
      [],
    ],
  ])("%s", (_, after, expected) => {
    expect(names(machinesAfterMachine(these, change(large, after)))).toEqual(
      [...expected, "default/large"].toSorted(),
    );
  });

  test("is looked for again when its Hypervisor changes", () => {
    const grown = hypervisorWith({ capacity: { cpus: 99, memoryMiB: 8192, diskMiB: 100_000 } });
    expect(names(machinesAfterHypervisor(these, change(hypervisorWith(), grown)))).toEqual(IN_WANT);
  });
});
