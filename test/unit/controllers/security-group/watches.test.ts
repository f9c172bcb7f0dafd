import { describe, expect, test } from "@jest/globals";

import type { EnforcedGroup, Hypervisor } from "../../../../src/api/hypervisor.ts";
import type { SecurityGroup } from "../../../../src/api/security-group.ts";
import type { VirtualMachine } from "../../../../src/api/virtual-machine.ts";
import {
  groupsAfterGroup,
  groupsAfterHypervisor,
  groupsAfterMachine,
} from "../../../../src/controllers/security-group/watches.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../../../src/kube/index.ts";
import { guestOn, hypervisorWith, lostHypervisor, machineWith, placedMachine, uidOf } from "../objects.ts";
import { groupWith, PROGRAMMED_AT } from "./facts.ts";
import { storesWith } from "./stores.ts";

const change = <T extends Parameters<typeof keyOf>[0]>(
  before: T | undefined,
  after: T | undefined,
): Change<T> => {
  const key = keyOf((after ?? before) as T);
  return { key, unreadable: false, ...(before && { before }), ...(after && { after }) };
};

const names = (keys: readonly ObjectKey[]): readonly string[] => [...new Set(keys.map(formatKey))].toSorted();

const web = groupWith();
const db = groupWith(
  { ingress: [{ protocol: "tcp", port: 5432, remote: { group: "web" } }] },
  { name: "db" },
);

describe("A change of a group concerns", () => {
  test.each<[string, Change<SecurityGroup>, readonly string[]]>([
    ["those whose rules speak of it when it comes", change(undefined, web), ["default/db", "default/web"]],
    ["those whose rules speak of it when it goes", change(web, undefined), ["default/db", "default/web"]],
    ["itself alone when its rules change", change(web, groupWith({}, { generation: 2 })), ["default/web"]],
    ["itself alone when nobody speaks of it", change(undefined, db), ["default/db"]],
    [
      "itself alone when it is no longer understood",
      { ...change(web, undefined), unreadable: true },
      ["default/web"],
    ],
  ])("%s", (_sentence, given, expected) => {
    expect(names(groupsAfterGroup(storesWith({ groups: [web, db] }), given))).toEqual(expected);
  });
});

describe("A change of a machine concerns", () => {
  const before = machineWith({ securityGroups: ["web", "ops"] });

  test.each<[string, Change<VirtualMachine>, readonly string[]]>([
    ["its groups when it comes", change(undefined, before), ["default/ops", "default/web"]],
    ["its groups when it goes", change(before, undefined), ["default/ops", "default/web"]],
    ["default when it names none", change(undefined, machineWith()), ["default/default"]],
    [
      "the groups that it leaves and joins",
      change(before, machineWith({ securityGroups: ["db", "ops"] })),
      ["default/db", "default/ops", "default/web"],
    ],
    ["its groups when it is placed", change(machineWith(), placedMachine()), ["default/default"]],
    ["nobody when its guest starts", change(placedMachine(), placedMachine({ guest: guestOn() })), []],
    [
      "nobody when it no longer names default, in which it stays",
      change(machineWith({ securityGroups: ["default"] }), machineWith()),
      [],
    ],
  ])("%s", (_sentence, given, expected) => {
    expect(names(groupsAfterMachine(given))).toEqual(expected);
  });
});

describe("A change of a node concerns", () => {
  const machine = placedMachine();
  const stores = storesWith({ machines: [machine] });
  const entry = (name: string, generation: number): EnforcedGroup => ({
    uid: uidOf(name),
    namespace: "default",
    name,
    generation,
    programmedAt: PROGRAMMED_AT,
  });
  const node = (...securityGroups: EnforcedGroup[]): Hypervisor => hypervisorWith({ securityGroups });

  test.each<[string, Change<Hypervisor>, readonly string[]]>([
    [
      "groups that it says something new of",
      change(node(entry("web", 1), entry("ops", 1)), node(entry("web", 2), entry("ops", 1))),
      ["default/web"],
    ],
    ["groups that it has no rules of any more", change(node(entry("web", 1)), node()), ["default/web"]],
    ["groups that it begins to have", change(node(), node(entry("web", 1))), ["default/web"]],
    [
      "nobody when it says something else",
      change(node(), hypervisorWith({ zone: "north", securityGroups: [] })),
      [],
    ],
    ["the groups of its machines when it is lost", change(node(), lostHypervisor()), ["default/default"]],
    ["the groups of its machines when it is back", change(lostHypervisor(), node()), ["default/default"]],
    ["the groups of its machines when it is gone", change(node(), undefined), ["default/default"]],
  ])("%s", (_sentence, given, expected) => {
    expect(names(groupsAfterHypervisor(stores, given))).toEqual(expected);
  });
});
