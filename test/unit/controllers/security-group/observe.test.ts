import { describe, expect, test } from "@jest/globals";

import type { Hypervisor } from "../../../../src/api/hypervisor.ts";
import type { VirtualMachine } from "../../../../src/api/virtual-machine.ts";
import { type GroupFacts, observeGroup } from "../../../../src/controllers/security-group/observe.ts";
import { hypervisorWith, lostHypervisor, machineWith, placedMachine, uidOf } from "../objects.ts";
import { groupWith, nodeAt, PROGRAMMED_AT } from "./facts.ts";
import { type Held, storesWith } from "./stores.ts";

const inGroups = (
  name: string,
  securityGroups: readonly string[],
  machine = machineWith(),
): VirtualMachine => ({
  ...machine,
  metadata: { ...machine.metadata, name, uid: uidOf(name) },
  spec: { ...machine.spec, securityGroups: [...securityGroups] },
});

const node = (name: string, generation?: number): Hypervisor =>
  hypervisorWith(
    {
      securityGroups:
        generation === undefined
          ? []
          : [
              {
                uid: uidOf("web"),
                namespace: "default",
                name: "web",
                generation,
                programmedAt: PROGRAMMED_AT,
              },
            ],
    },
    { name, uid: uidOf(name) },
  );

const observe = (held: Held, name = "web", namespace = "default") =>
  observeGroup(storesWith(held), { namespace, name }, () => undefined);

const factsOf = (held: Held, name = "web"): GroupFacts => {
  const facts = observe(held, name);
  if (facts?.kind !== "group") throw new Error(`no group: ${JSON.stringify(facts)}`);
  return facts;
};

describe("The members of a group are", () => {
  test.each<[string, string, readonly VirtualMachine[], readonly string[]]>([
    ["the machines that name it", "web", [inGroups("b", ["ops", "web"]), inGroups("a", ["web"])], ["a", "b"]],
    ["not those that name others", "web", [inGroups("a", ["ops"])], []],
    ["not those that name none", "web", [inGroups("a", [])], []],
    [
      "not those of another namespace",
      "web",
      [inGroups("a", ["web"], machineWith({}, { namespace: "other" }))],
      [],
    ],
    ["those that name none, for default", "default", [inGroups("a", []), inGroups("b", ["web"])], ["a"]],
    ["those that name default, for default", "default", [inGroups("a", ["default", "web"])], ["a"]],
    [
      "machines that are being deleted too, since their guests may run",
      "web",
      [inGroups("a", ["web"], machineWith({}, { deletionTimestamp: "2026-02-03T04:05:00Z" }))],
      ["a"],
    ],
  ])("%s", (_sentence, name, machines, expected) => {
    const groups = [groupWith({}, { name })];
    expect(factsOf({ groups, machines }, name).members).toEqual(expected);
  });
});

describe("The nodes of a group are", () => {
  const groups = [groupWith()];

  test("those that hold machines of it, with what they say of it", () => {
    const machines = ["c", "a", "b"].map((name) =>
      inGroups(name, ["web"], placedMachine({ nodeName: name === "c" ? "node-2" : "node-1" })),
    );
    const hypervisors = [node("node-1", 1), node("node-2"), node("node-3", 1)];
    expect(factsOf({ groups, machines, hypervisors }).nodes).toMatchObject([
      nodeAt("node-1", 1),
      { name: "node-2", lost: false, enforced: undefined },
    ]);
  });

  test("not those whose machines have left them", () => {
    const released = placedMachine({
      conditions: [
        {
          type: "Released",
          status: "True",
          reason: "Released",
          message: "",
          lastTransitionTime: PROGRAMMED_AT,
        },
      ],
    });
    const machines = [inGroups("a", ["web"], released)];
    expect(factsOf({ groups, machines, hypervisors: [node("node-1", 1)] }).nodes).toEqual([]);
  });

  test.each<[string, Held]>([
    ["its agent gives no sign of life", { hypervisors: [lostHypervisor()] }],
    ["its Hypervisor is gone", {}],
    ["its Hypervisor cannot be understood", { unreadable: ["node-1"] }],
  ])("lost ones when %s", (_sentence, held) => {
    const machines = [inGroups("a", ["web"], placedMachine())];
    expect(factsOf({ groups, machines, ...held }).nodes).toEqual([nodeAt("node-1", undefined, true)]);
  });

  test("silent about a group that was made anew under the same name", () => {
    const anew = groupWith({}, { uid: uidOf("another") });
    const machines = [inGroups("a", ["web"], placedMachine())];
    const { nodes } = factsOf({ groups: [anew], machines, hypervisors: [node("node-1", 1)] });
    expect(nodes).toEqual([nodeAt("node-1", undefined)]);
  });
});

describe("Groups that rules speak of", () => {
  const rule = (group: string) => ({ protocol: "any", remote: { group } });
  const web = groupWith({ ingress: [rule("lb"), rule("web"), rule("lb")], egress: [rule("db")] });

  test("are missing when they are not in the namespace", () => {
    const elsewhere = groupWith({}, { name: "db", namespace: "other" });
    expect(factsOf({ groups: [web, elsewhere] }).missingGroups).toEqual(["db", "lb"]);
  });

  test("are not missing when they exist, understood or not", () => {
    const groups = [web, groupWith({}, { name: "db" })];
    expect(factsOf({ groups, unreadable: ["default/lb"] }).missingGroups).toEqual([]);
  });
});

test("Machines that cannot be understood count in their own namespace", () => {
  const groups = [groupWith()];
  expect(factsOf({ groups, unreadable: ["default/a", "other/b"] }).unreadable).toBe(1);
});

describe("A group that does not exist", () => {
  const making = { kind: "default-missing", namespace: "default" };

  test.each<[string, string, readonly VirtualMachine[], object | undefined]>([
    ["is made when it is default and a machine names none", "default", [inGroups("a", [])], making],
    ["is not made without a machine", "default", [], undefined],
    ["is made when it is default and a machine names it", "default", [inGroups("a", ["default"])], making],
    [
      "is not made for a machine that is about to go",
      "default",
      [inGroups("a", [], machineWith({}, { deletionTimestamp: "2026-02-03T04:05:00Z" }))],
      undefined,
    ],
    ["is not made under another name", "web", [inGroups("a", ["web"])], undefined],
  ])("%s", (_sentence, name, machines, expected) => {
    expect(observe({ machines }, name)).toEqual(expected);
  });
});
