import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { VirtualMachine } from "../../../../src/api/virtual-machine.ts";
import {
  addressesOfNode,
  machineEntries,
  machineList,
  nodeEntries,
} from "../../../../src/controllers/address-slice/entries.ts";
import {
  listsAfterHypervisor,
  listsAfterMachine,
} from "../../../../src/controllers/address-slice/watches.ts";
import type { Stores } from "../../../../src/controllers/context.ts";
import { keyOf } from "../../../../src/kube/index.ts";
import {
  allocationWith,
  guestOn,
  hypervisorWith,
  lostHypervisor,
  machineWith,
  placedMachine,
  readyCondition,
  uidOf,
} from "../objects.ts";

interface Wishes {
  readonly allowed?: readonly string[];
  readonly ready?: boolean;
  readonly groups?: readonly string[];
}

const machine = (
  name: string,
  address: string,
  { allowed = [], ready = false, groups = [] }: Wishes = {},
) => {
  const allocation = allocationWith(address);
  const [card] = allocation.interfaces;
  if (card === undefined) throw new Error("no card");
  const placed = placedMachine(
    {
      allocation: { ...allocation, interfaces: [{ ...card, allowedAddresses: [...allowed] }] },
      conditions: [readyCondition(ready ? "True" : "False", "Because")],
    },
    { name, uid: uidOf(name) },
  );
  return { ...placed, spec: { ...placed.spec, securityGroups: [...groups] } };
};

const released = (subject: VirtualMachine): VirtualMachine => ({
  ...subject,
  status: {
    ...subject.status,
    conditions: [{ ...readyCondition("True", "Released"), type: "Released" }],
  },
});

const onlyNode1 = (nodeName: string): string | undefined => (nodeName === "node-1" ? "192.0.2.1" : undefined);

const holders = (machines: readonly VirtualMachine[]): readonly string[] =>
  machineEntries("lan", machines, onlyNode1).map(({ address, name }) => `${address} ${name}`);

describe("The entries of a Network", () => {
  test("say all that nodes need of a machine", () => {
    expect(
      machineEntries("lan", [machine("hello", "10.0.0.2", { groups: ["web", "db"] })], onlyNode1),
    ).toEqual([
      {
        address: "10.0.0.2",
        nodeName: "node-1",
        nodeAddress: "192.0.2.1",
        namespace: "default",
        name: "hello",
        uid: uidOf("hello"),
        securityGroups: ["db", "web"],
      },
    ]);
  });

  test("put a machine that names no group into the group default", () => {
    expect(machineEntries("lan", [machine("a", "10.0.0.2")], onlyNode1)[0]?.securityGroups).toEqual([
      "default",
    ]);
  });

  test.each<[string, readonly VirtualMachine[], readonly string[]]>([
    ["leave out a machine that waits for a node", [machineWith()], []],
    ["leave out a machine of which nothing is left", [released(machine("a", "10.0.0.2"))], []],
    [
      "leave out a machine on a node that has not said its addresses",
      [placedMachine({ nodeName: "node-2" })],
      [],
    ],
    [
      "give a shared address to the first by name",
      [
        machine("b", "10.0.0.3", { allowed: ["10.0.0.9"] }),
        machine("a", "10.0.0.2", { allowed: ["10.0.0.9"] }),
      ],
      ["10.0.0.2 a", "10.0.0.3 b", "10.0.0.9 a"],
    ],
    [
      "give a shared address to the first by name that is Ready",
      [
        machine("a", "10.0.0.2", { allowed: ["10.0.0.9"] }),
        machine("b", "10.0.0.3", { allowed: ["10.0.0.9"], ready: true }),
        machine("c", "10.0.0.4", { allowed: ["10.0.0.9"], ready: true }),
      ],
      ["10.0.0.2 a", "10.0.0.3 b", "10.0.0.4 c", "10.0.0.9 b"],
    ],
    [
      "leave an address to the machine whose own it is",
      [machine("a", "10.0.0.2", { allowed: ["10.0.0.3"], ready: true }), machine("b", "10.0.0.3")],
      ["10.0.0.2 a", "10.0.0.3 b"],
    ],
  ])("%s", (_, machines, expected) => expect(holders(machines)).toEqual(expected));

  test("know of no other Network", () => {
    expect(machineEntries("wan", [machine("a", "10.0.0.2")], onlyNode1)).toEqual([]);
  });

  test("are the same in whatever order the machines come, and each address is in one", () => {
    const anyMachine = fc
      .tuple(
        fc.constantFrom("a", "b", "c", "d"),
        fc.integer({ min: 2, max: 5 }),
        fc.subarray(["10.0.0.4", "10.0.0.9"]),
        fc.boolean(),
      )
      .map(([name, host, allowed, ready]) => machine(name, `10.0.0.${host}`, { allowed, ready }));
    const anyMachines = fc.uniqueArray(anyMachine, { selector: ({ metadata }) => metadata.name });
    fc.assert(
      fc.property(
        anyMachines.chain((list) =>
          fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
        ),
        ([machines, shuffled]) => {
          const entries = machineEntries("lan", machines, onlyNode1);
          expect(machineEntries("lan", shuffled, onlyNode1)).toEqual(entries);
          expect(new Set(entries.map(machineList.keyOf)).size).toBe(entries.length);
        },
      ),
    );
  });
});

describe("The entry of a node", () => {
  test.each<[string, Parameters<typeof hypervisorWith>[0], readonly string[]]>([
    ["is absent until it says its addresses", {}, []],
    [
      "has the end of its tunnels first, and each address once",
      { tunnelAddress: "192.0.2.2", addresses: ["192.0.2.1", "192.0.2.2"] },
      ["192.0.2.2", "192.0.2.1"],
    ],
    [
      "has its addresses as they are when it names none for tunnels",
      { addresses: ["192.0.2.1"] },
      ["192.0.2.1"],
    ],
  ])("%s", (_, status, expected) => {
    const hypervisor = hypervisorWith(status);
    expect(addressesOfNode(hypervisor)).toEqual(expected);
    expect(nodeEntries([hypervisor])).toHaveLength(expected.length === 0 ? 0 : 1);
  });
});

describe("Slices are looked at again", () => {
  const settled = machine("a", "10.0.0.2");
  const sharing = machine("a", "10.0.0.2", { allowed: ["10.0.0.9"] });
  const after = (before: VirtualMachine | undefined, now: VirtualMachine | undefined) =>
    listsAfterMachine({
      key: keyOf(settled),
      unreadable: false,
      ...(before && { before }),
      ...(now && { after: now }),
    }).map(({ name }) => name);

  test.each<[string, VirtualMachine | undefined, VirtualMachine | undefined, boolean]>([
    ["when a machine is placed", machineWith(), settled, true],
    ["when a machine is gone", settled, undefined, true],
    ["when nothing of a machine is left", settled, released(settled), true],
    ["when its groups change", settled, machine("a", "10.0.0.2", { groups: ["web"] }), true],
    [
      "when the readiness of one changes that shares an address",
      sharing,
      machine("a", "10.0.0.2", { allowed: ["10.0.0.9"], ready: true }),
      true,
    ],
    ["not when any other becomes Ready", settled, machine("a", "10.0.0.2", { ready: true }), false],
    [
      "not when a guest runs",
      settled,
      { ...settled, status: { ...settled.status, guest: guestOn() } },
      false,
    ],
    ["not when a machine waits", undefined, machineWith(), false],
  ])("%s", (_, before, now, expected) => expect(after(before, now).includes("lan")).toBe(expected));

  test("when the address of a node changes, with the Networks of its machines", () => {
    const stores = { virtualMachines: { byIndex: () => [settled] } } as unknown as Stores;
    const before = hypervisorWith({ addresses: ["192.0.2.1"] });
    const change = { key: keyOf(before), unreadable: false, before };
    const now = hypervisorWith({ addresses: ["192.0.2.9"] });
    expect(listsAfterHypervisor(stores, { ...change, after: now }).map(({ name }) => name)).toEqual([
      "nodes",
      "lan",
    ]);
    const same = lostHypervisor();
    const withAddress = { ...same, status: { ...same.status, addresses: ["192.0.2.1"] } };
    expect(listsAfterHypervisor(stores, { ...change, after: withAddress })).toEqual([]);
  });
});
