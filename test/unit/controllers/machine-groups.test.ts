import { describe, expect, test } from "@jest/globals";
import { findCondition } from "../../../src/api/condition.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Stores } from "../../../src/controllers/context.ts";
import { BY_GROUP, machineIndexes } from "../../../src/controllers/stores.ts";
import { decideMachine } from "../../../src/controllers/virtual-machine/decide.ts";
import type { NamedGroup } from "../../../src/controllers/virtual-machine/observe.ts";
import { machinesAfterGroup } from "../../../src/controllers/virtual-machine/watches.ts";
import { formatKey, keyOf } from "../../../src/kube/index.ts";
import { placedFacts, statusOf, unplacedFacts } from "./machine-facts.ts";
import {
  guestOn,
  hypervisorWith,
  lostHypervisor,
  machineWith,
  NOW,
  placedMachine,
  readyCondition,
  securityGroupWith,
} from "./objects.ts";

const there: NamedGroup = { name: "web", group: securityGroupWith() };
const gone: NamedGroup = { name: "web", group: undefined };

/** As it is after its placement and the agent's first word. */
const running = (ready = readyCondition("True", "Running")): VirtualMachine => {
  const { conditions } = statusOf(decideMachine(unplacedFacts(), NOW));
  const others = conditions.filter(({ type }) => type !== "Ready");
  return placedMachine({ guest: guestOn(), conditions: [ready, ...others] });
};

const decide = (machine: VirtualMachine, group: NamedGroup, hypervisor = hypervisorWith()) =>
  decideMachine({ ...placedFacts(machine, hypervisor), securityGroups: [group] }, NOW).steps;

/** The machine with what the steps say of it. */
const told = (machine: VirtualMachine, steps: ReturnType<typeof decide>): VirtualMachine =>
  steps.reduce((current, step) => {
    if (step.kind !== "apply-status") return current;
    const ready = findCondition(current.status?.conditions, "Ready");
    const conditions = [...(ready === undefined ? [] : [ready]), ...step.status.conditions];
    return { ...current, status: { ...current.status, ...step.status, conditions } };
  }, machine);

describe("A machine that runs", () => {
  test("says when a group that it names is gone, and leaves to the agent what is the agent's", () => {
    const machine = running();
    const [step, ...more] = decide(machine, gone);
    expect(more).toEqual([]);
    if (step?.kind !== "apply-status") throw new Error("no status is written");
    expect(Object.keys(step.status).toSorted()).toEqual(["allocation", "conditions", "nodeName"]);
    expect(step.status.conditions.map(({ type, status }) => `${type}=${status}`).toSorted()).toEqual([
      "FlavorReady=True",
      "ImageReady=True",
      "KeyPairsReady=True",
      "NetworkReady=True",
      "Scheduled=True",
      "SecurityGroupsReady=False",
      "VolumesReady=True",
    ]);
  });

  test("says so once, and when the group is back", () => {
    const without = told(running(), decide(running(), gone));
    expect(decide(without, gone)).toEqual([]);
    const back = told(without, decide(without, there));
    expect(findCondition(back.status?.conditions, "SecurityGroupsReady")?.status).toBe("True");
    expect(decide(back, there)).toEqual([]);
  });

  test("costs no write while its groups are there, also if nothing was ever said of them", () => {
    expect(decide(running(), there)).toEqual([]);
    expect(decide(placedMachine({ guest: guestOn() }), there)).toEqual([]);
  });

  test("is not spoken of while the controller's own Ready stands, which would be lost", () => {
    expect(decide(running(readyCondition("Unknown", "NodeLost")), gone)).toEqual([]);
    const [step] = decide(running(), gone, lostHypervisor());
    if (step?.kind !== "apply-status") throw new Error("no status is written");
    expect(findCondition(step.status.conditions, "Ready")?.reason).toBe("NodeLost");
  });
});

describe("A group that comes or goes", () => {
  const inGroup = machineWith({ securityGroups: ["web"] }, { name: "in" });
  const placed = { ...placedMachine({}, { name: "placed" }), spec: inGroup.spec };
  const machines = [inGroup, placed, machineWith({}, { name: "out" })];
  const stores = {
    virtualMachines: {
      byIndex: (_: string, value: string) =>
        machines.filter((machine) => machineIndexes[BY_GROUP](machine).includes(value)),
    },
  } as unknown as Stores;
  const group = securityGroupWith();
  const key = keyOf(group);

  test("concerns its machines, those on nodes too", () => {
    const concerned = ["default/in", "default/placed"];
    const made = machinesAfterGroup(stores, { key, after: group, unreadable: false });
    expect(made.map(formatKey)).toEqual(concerned);
    const removed = machinesAfterGroup(stores, { key, before: group, unreadable: false });
    expect(removed.map(formatKey)).toEqual(concerned);
  });

  test("is not one whose rules change", () => {
    expect(machinesAfterGroup(stores, { key, before: group, after: group, unreadable: false })).toEqual([]);
  });
});
