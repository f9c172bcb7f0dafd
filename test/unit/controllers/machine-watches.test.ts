import { describe, expect, test } from "@jest/globals";
import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import type { Image } from "../../../src/api/image.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Stores } from "../../../src/controllers/context.ts";
import { machineIndexes } from "../../../src/controllers/stores.ts";
import {
  machinesAfterHypervisor,
  machinesAfterMachine,
  machinesAfterNetwork,
  machinesAfterReference,
} from "../../../src/controllers/virtual-machine/watches.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../../src/kube/index.ts";
import {
  hypervisorWith,
  imageWith,
  lostHypervisor,
  machineWith,
  networkWith,
  numberedNetwork,
  placedMachine,
} from "./objects.ts";

const waiting = machineWith({}, { name: "waiting" });
const elsewhere = machineWith({}, { name: "waiting", namespace: "other" });
const settled = placedMachine({}, { name: "settled" });

const storesWith = (machines: readonly VirtualMachine[]): Stores =>
  ({
    virtualMachines: {
      byIndex: (index: keyof typeof machineIndexes, value: string) =>
        machines.filter((machine) => machineIndexes[index](machine).includes(value)),
    },
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
  const after = machinesAfterReference<Image>(stores, ({ spec }, name) => spec.image === name);

  test("those that wait in its namespace and name it", () => {
    expect(names(after(change(undefined, imageWith())))).toEqual(["default/waiting"]);
  });

  test("nobody when nobody that waits names it", () => {
    expect(after(change(undefined, imageWith({}, { name: "another" })))).toEqual([]);
  });

  test("all namespaces when it is cluster-wide", () => {
    const flavor = machinesAfterReference(stores, ({ spec }, name) => spec.flavor === name);
    expect(names(flavor({ key: { name: "small" }, unreadable: false }))).toEqual(ALL_WAITING);
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
