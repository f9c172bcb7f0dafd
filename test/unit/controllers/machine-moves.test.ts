import { describe, expect, test } from "@jest/globals";

import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../../src/api/virtual-machine-migration.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { candidateOf, noResources } from "../../../src/controllers/scheduler/types.ts";
import { decideMachine, type MachineDecision } from "../../../src/controllers/virtual-machine/decide.ts";
import type { PlacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import { agentsWords, carriedOut, LEAVING, placedFacts, statusOf, stepsOf } from "./machine-facts.ts";
import { allocationWith, guestOn, lostHypervisor, NOW, placedMachine, readyCondition } from "./objects.ts";
import { acceptedWith, fenced, nodeWith, silent } from "./virtual-machine-migration/migrating.ts";

/** Machines that another node gets. */

const machine = placedMachine(agentsWords());

const migrationAt = (phase: NonNullable<VirtualMachineMigration["status"]>["phase"]) =>
  acceptedWith({ phase, machineUid: machine.metadata.uid });

const facts = (changes: Partial<PlacedFacts> & { readonly machine?: VirtualMachine } = {}): PlacedFacts => {
  const nodeName = changes.machine?.status?.nodeName ?? "node-1";
  return placedFacts(changes.machine ?? machine, nodeWith(nodeName), { nodeName, ...changes });
};

const decide = (given: PlacedFacts): MachineDecision => decideMachine(given, NOW);

const nodeAfter = (given: PlacedFacts): string | undefined =>
  carriedOut(given.machine, decide(given)).status?.nodeName;

const on = (nodeName: string, status: object = {}): VirtualMachine =>
  placedMachine({ ...agentsWords(), nodeName, ...status });

describe("A machine that migrates", () => {
  test.each([
    ["Preparing", "node-1"],
    ["Copying", "node-1"],
    ["Switching", "node-2"],
    ["Succeeded", "node-2"],
    ["Failed", "node-1"],
    ["Cancelled", "node-1"],
  ] as const)("in %s is on %s, wherever it was", (phase, home) => {
    for (const before of ["node-1", "node-2"])
      expect(nodeAfter(facts({ machine: on(before), migration: migrationAt(phase) }))).toBe(home);
  });

  test("keeps what its agent said of it until the other one speaks", () => {
    const given = facts({ migration: migrationAt("Switching") });
    expect(stepsOf(decide(given))).toEqual(["apply-status", "Normal Migrated"]);
    const moved = carriedOut(machine, decide(given));
    expect(moved.status?.conditions).toContainEqual(readyCondition("True", "Running"));
    expect(moved.status?.allocation).toEqual(machine.status?.allocation);
    expect(decide(facts({ machine: moved, migration: migrationAt("Switching") })).steps).toEqual([]);
    expect(decide(facts({ machine: moved })).steps).toEqual([]);
  });

  test("is not said to be lost with the node that it has left", () => {
    const lost = placedMachine({ ...agentsWords(readyCondition("Unknown", "NodeLost")) });
    const decision = decide(facts({ machine: lost, migration: migrationAt("Succeeded") }));
    expect(statusOf(decision)).toMatchObject({ nodeName: "node-2", printableStatus: "Provisioning" });
  });

  test("goes with its migration even while it is being deleted", () => {
    const leaving = placedMachine(agentsWords(), LEAVING);
    expect(nodeAfter(facts({ machine: leaving, migration: migrationAt("Switching") }))).toBe("node-2");
  });

  test("is given nothing else until it has arrived", () => {
    const larger = { ...machine, spec: { ...machine.spec, vcpus: 2 } };
    expect(decide(facts({ machine: larger, migration: migrationAt("Copying") })).steps).toEqual([]);
    expect(decide(facts({ machine: larger })).reserve?.kind).toBe("resize");
  });
});

describe("A machine of a node that is out of service", () => {
  const nfs = {
    storagePools: [
      { name: "nfs", shared: true, wipe: "None" as const, capacityMiB: 9_999, availableMiB: 9_999 },
    ],
  };
  const viewOf = (hypervisor: Hypervisor) => ({
    hypervisor,
    candidate: candidateOf(hypervisor, noResources),
  });
  const off = nodeWith("node-1", { ...nfs, ...fenced }, { outOfService: true });
  const other = nodeWith("node-2", nfs);
  const allocation = { ...allocationWith(), pool: "nfs" };
  const shared = placedMachine({ ...agentsWords(readyCondition("Unknown", "NodeLost")), allocation });
  const stranded = (changes: Partial<PlacedFacts> = {}) =>
    facts({ machine: shared, hypervisor: off, nodes: [viewOf(off), viewOf(other)], ...changes });

  test("is started anew elsewhere with all that it was given, when all of its disks are shared", () => {
    const decision = decide(stranded());
    expect(decision.reserve).toEqual({
      kind: "relocation",
      nodeName: "node-2",
      resources: { vcpus: 1, memoryMiB: 512, disks: {} },
    });
    expect(stepsOf(decision)).toEqual(["confirm-fenced", "apply-status", "Warning Evacuated"]);
    const { nodeName, printableStatus } = statusOf(decision);
    expect({ nodeName, printableStatus, allocation: statusOf(decision).allocation }).toEqual({
      nodeName: "node-2",
      allocation: shared.status?.allocation,
      printableStatus: "Provisioning",
    });
  });

  test("is said to be lost first: of that word and its agent's next one meets a conflict", () => {
    const spoken = placedMachine({ ...agentsWords(), allocation });
    const told = carriedOut(spoken, decide(stranded({ machine: spoken })));
    expect(told.status?.nodeName).toBe("node-1");
    expect(told.status?.conditions?.find(({ type }) => type === "Ready")?.reason).toBe("NodeLost");
    expect(nodeAfter(stranded({ machine: told }))).toBe("node-2");
  });

  test("is started anew just the same when the node's watchdog has reset it", () => {
    const reset = { ...readyCondition("True", "SelfFenced"), type: "Fenced" };
    const conditions = [...silent.conditions, reset];
    const hypervisor = nodeWith("node-1", { ...nfs, conditions });
    expect(nodeAfter(stranded({ hypervisor }))).toBe("node-2");
  });

  test("is not Ready before its new node says so", () => {
    const moved = carriedOut(shared, decide(stranded()));
    expect(moved.status?.guest).toEqual(guestOn("node-1"));
    expect(stepsOf(decide(facts({ machine: moved, hypervisor: other })))).toEqual([]);
    expect(moved.status?.conditions?.find(({ type }) => type === "Ready")?.status).toBe("False");
  });

  test.each<[string, Partial<PlacedFacts>]>([
    ["the node speaks", { hypervisor: nodeWith("node-1", nfs, { outOfService: true }) }],
    ["the node is silent and nobody has said that it is off", { hypervisor: lostHypervisor() }],
    [
      "the node is said to be off, and is not fenced yet",
      { hypervisor: nodeWith("node-1", { ...nfs, ...silent }, { outOfService: true }) },
    ],
    ["there is no Hypervisor", { hypervisor: undefined }],
    [
      "a migration of it is not settled",
      { migration: acceptedWith({ phase: "Failed", machineUid: shared.metadata.uid }) },
    ],
    ["a disk is on that node only", { machine }],
    ["no other node has the pool", { nodes: [viewOf(off), viewOf(nodeWith("node-2"))] }],
    ["another machine cannot be understood", { unreadableMachines: 1 }],
  ])("stays while %s", (_, changes) => {
    expect(nodeAfter(stranded(changes))).toBe("node-1");
  });

  test("says truthfully what there is, when only that node has a disk", () => {
    const { conditions } = statusOf(decide(stranded({ machine })));
    expect(conditions.find(({ type }) => type === "Ready")).toMatchObject({
      status: "Unknown",
      reason: "NodeLost",
      message:
        "Node node-1 is out of service, and only that node has its root disk (storage pool local), with the snapshots of the machine. It goes on when the node is back. If the node is gone for good, delete the machine, and make it anew from an Image, or from a backup that you have elsewhere; then delete Hypervisor node-1.",
    });
  });
});
