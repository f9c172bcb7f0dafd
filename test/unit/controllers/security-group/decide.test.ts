import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { SECURITY_GROUP_FINALIZER } from "../../../../src/api/security-group.ts";
import { COUNT_INTERVAL_MS, decideGroup } from "../../../../src/controllers/security-group/decide.ts";
import type { GroupFacts } from "../../../../src/controllers/security-group/observe.ts";
import { NOW } from "../objects.ts";
import {
  afterwards,
  conditionsOf,
  groupFacts,
  groupWith,
  nodeAt,
  PROGRAMMED_AT,
  statusOf,
  stepsOf,
} from "./facts.ts";

const DELETED = { deletionTimestamp: "2026-02-03T04:05:00Z", generation: 2 };

const machines = (count: number): readonly string[] => Array.from({ length: count }, (_, i) => `vm-${i}`);

/** The group as it is once everything was said of these facts. */
const settled = (changes: Partial<GroupFacts>): GroupFacts => {
  const facts = groupFacts(changes);
  return { ...afterwards(facts, decideGroup(facts, NOW)), sinceWriteMs: 60_000 };
};

describe("A SecurityGroup", () => {
  test("tells who is in it, how many rules it has and where they are in force", () => {
    const group = groupWith({
      ingress: [
        { protocol: "tcp", port: 80 },
        { protocol: "any", remote: { group: "web" } },
      ],
      egress: [{ protocol: "any" }],
    });
    const facts = groupFacts({ group, members: ["a", "b"], nodes: [nodeAt("node-1", 1)] });
    expect(statusOf(decideGroup(facts, NOW))).toMatchObject({
      observedGeneration: 1,
      members: 2,
      rules: 3,
      nodes: [{ name: "node-1", generation: 1, programmedAt: PROGRAMMED_AT }],
    });
  });

  test("is held before anything is said of it", () => {
    const facts = groupFacts({ group: groupWith({}, { finalizers: ["somebody/else"] }) });
    expect(stepsOf(decideGroup(facts, NOW))).toEqual([
      `finalizers somebody/else,${SECURITY_GROUP_FINALIZER}`,
      "apply-status",
    ]);
  });

  test.each<[string, Partial<GroupFacts>, readonly string[]]>([
    ["without machines is in force", {}, ["Ready=True InForce: No machine is in it."]],
    [
      "is in force when all nodes that hold machines of it have its version",
      { members: ["a", "b"], nodes: [nodeAt("node-1", 1), nodeAt("node-2", 1)] },
      ["Ready=True InForce: In force on all nodes that hold machines of it."],
    ],
    [
      "whose machines have no node yet is in force",
      { members: ["a"] },
      ["Ready=True InForce: In force on all nodes that hold machines of it."],
    ],
    [
      "is on its way to a node that has an older version of it",
      {
        group: groupWith({}, { generation: 2 }),
        members: ["a", "b"],
        nodes: [nodeAt("node-1", 2), nodeAt("node-2", 1)],
      },
      [
        "Ready=False Programming: Being put in force on node-2.",
        "Reconciling=True Programming: Being put in force on node-2.",
      ],
    ],
    [
      "is on its way to nodes that have said nothing yet",
      { members: ["a"], nodes: machines(7).map((name) => nodeAt(name, undefined)) },
      [
        "Ready=False Programming: Being put in force on vm-0, vm-1, vm-2, vm-3, vm-4 and 2 more.",
        "Reconciling=True Programming: Being put in force on vm-0, vm-1, vm-2, vm-3, vm-4 and 2 more.",
      ],
    ],
    [
      "does not wait for a lost node, and says so",
      {
        group: groupWith({}, { generation: 2 }),
        members: ["a", "b"],
        nodes: [nodeAt("node-1", 2), nodeAt("node-2", 1, true)],
      },
      [
        "Ready=True InForce: In force on all nodes that hold machines of it. No sign of life from node-2, where it is not known to be in force.",
      ],
    ],
    [
      "has no doubt of a lost node that had its version before",
      { members: ["a"], nodes: [nodeAt("node-1", 1, true)] },
      ["Ready=True InForce: In force on all nodes that hold machines of it."],
    ],
    [
      "whose rules speak of a group that does not exist says so",
      { missingGroups: ["apps", "lb"] },
      [
        "Ready=True InForce: No machine is in it.",
        "RemoteGroupNotFound=True GroupNotFound: Rules that speak of a group that does not exist allow nothing: apps, lb. Make the group in this namespace, or change the rules.",
      ],
    ],
    [
      "that is deleted while one machine is in it stays",
      { group: groupWith({}, DELETED), members: ["a"], nodes: [nodeAt("node-1", 2)] },
      [
        "Ready=True InForce: In force on all nodes that hold machines of it.",
        "InUse=True HasMembers: It stays in force and goes when no machine is in it any more; 1 machine is: a.",
      ],
    ],
    [
      "that is deleted while many machines are in it names five",
      { group: groupWith({}, DELETED), members: machines(12) },
      [
        "Ready=True InForce: In force on all nodes that hold machines of it.",
        "InUse=True HasMembers: It stays in force and goes when no machine is in it any more; 12 machines are: vm-0, vm-1, vm-2, vm-3, vm-4 and 7 more.",
      ],
    ],
    [
      "that is deleted while a machine cannot be understood stays",
      { group: groupWith({}, DELETED), unreadable: 1 },
      [
        "Ready=True InForce: No machine is in it.",
        "InUse=True UnreadableMachines: It is kept, because the controller cannot understand a machine of the namespace and so does not know which groups are in use; its log says more. Is it older than the CustomResourceDefinitions?",
      ],
    ],
  ])("%s", (_sentence, changes, expected) => {
    expect(conditionsOf(decideGroup(groupFacts(changes), NOW))).toEqual(expected);
  });
});

describe("A SecurityGroup that is deleted", () => {
  test("goes when no machine is in it", () => {
    const group = groupWith({}, { ...DELETED, finalizers: ["somebody/else", SECURITY_GROUP_FINALIZER] });
    expect(stepsOf(decideGroup(groupFacts({ group }), NOW))).toEqual(["finalizers somebody/else"]);
  });

  test("and that somebody else holds is left alone", () => {
    const group = groupWith({}, { ...DELETED, finalizers: ["somebody/else"] });
    expect(decideGroup(groupFacts({ group }), NOW)).toEqual({ steps: [] });
  });

  test("gets no finalizer any more, since the API server would refuse it", () => {
    const group = groupWith({}, { ...DELETED, finalizers: ["somebody/else"] });
    const steps = stepsOf(decideGroup(groupFacts({ group, members: ["a"] }), NOW));
    expect(steps).toEqual(["apply-status", "announce InUse"]);
  });

  test("is told of once, not with each machine that leaves it", () => {
    const before = settled({ group: groupWith({}, DELETED), members: ["a", "b"] });
    expect(stepsOf(decideGroup({ ...before, members: ["a"] }, NOW))).toEqual(["apply-status"]);
  });

  test("is looked at again while a machine cannot be understood", () => {
    const facts = settled({ group: groupWith({}, DELETED), unreadable: 1 });
    expect(decideGroup(facts, NOW)).toEqual({ steps: [], requeueAfterMs: 30_000 });
  });
});

describe("The status of a SecurityGroup", () => {
  const inForce = (): GroupFacts => settled({ members: ["a"], nodes: [nodeAt("node-1", 1)] });

  test.each<[string, Partial<GroupFacts>]>([
    ["a machine joins on a node that has the rules", { members: ["a", "b"] }],
    ["a first machine comes to another node", { nodes: [nodeAt("node-1", 1), nodeAt("node-2", undefined)] }],
    [
      "a machine is on a node that is lost before it has said anything",
      { nodes: [nodeAt("node-1", 1), nodeAt("node-2", undefined, true)] },
    ],
  ])("is written a little later when %s", (_sentence, changes) => {
    const facts = { ...inForce(), sinceWriteMs: 1_000, ...changes };
    expect(decideGroup(facts, NOW)).toEqual({ steps: [], requeueAfterMs: COUNT_INTERVAL_MS - 1_000 });
  });

  test.each<[string, Partial<GroupFacts>]>([
    [
      "its rules change",
      { group: { ...inForce().group, metadata: groupWith({}, { generation: 2 }).metadata } },
    ],
    ["a group that its rules speak of goes", { missingGroups: ["apps"] }],
    ["it is deleted", { group: { ...inForce().group, metadata: groupWith({}, DELETED).metadata } }],
  ])("is written at once when %s", (_sentence, changes) => {
    const facts = { ...inForce(), sinceWriteMs: 1, ...changes };
    expect(stepsOf(decideGroup(facts, NOW))).toContain("apply-status");
  });

  test("is written at once when the last node has a new version of the rules", () => {
    const group = groupWith({}, { generation: 2 });
    const nodes = [nodeAt("node-1", 2), nodeAt("node-2", 1)];
    const facts = { ...settled({ group, members: ["a", "b"], nodes }), sinceWriteMs: 1 };
    const done = { ...facts, nodes: [nodeAt("node-1", 2), nodeAt("node-2", 2)] };
    expect(conditionsOf(decideGroup(done, NOW))[0]).toContain("Ready=True");
  });

  test("costs few writes when a hundred machines on ten nodes join within ten seconds", () => {
    let facts = groupFacts();
    let writes = 0;
    for (let ms = 0; ms < 20_000; ms += 20) {
      const joined = Math.min(100, Math.floor(ms / 100));
      // Each node gets a machine in turn, and its agent needs a second.
      const nodes = Array.from({ length: Math.min(10, joined) }, (_, index) =>
        nodeAt(`node-${index}`, ms - index * 100 > 1_000 ? 1 : undefined),
      );
      facts = { ...facts, members: machines(joined), nodes };
      const decision = decideGroup(facts, NOW);
      writes += decision.steps.filter(({ kind }) => kind === "apply-status").length;
      const after = afterwards(facts, decision);
      facts = {
        ...after,
        ...(after.sinceWriteMs !== undefined && { sinceWriteMs: after.sinceWriteMs + 20 }),
      };
    }
    expect(facts.group.status).toMatchObject({
      members: 100,
      conditions: [{ type: "Ready", status: "True" }],
    });
    expect(writes).toBeLessThanOrEqual(6);
  });
});

const anyFacts: fc.Arbitrary<GroupFacts> = fc
  .record({
    generation: fc.integer({ min: 1, max: 3 }),
    isLeaving: fc.boolean(),
    isHeld: fc.boolean(),
    members: fc.integer({ min: 0, max: 8 }),
    nodes: fc.array(
      fc.record({
        name: fc.constantFrom("a", "b", "c"),
        generation: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
        lost: fc.boolean(),
      }),
      { maxLength: 3 },
    ),
    missingGroups: fc.subarray(["apps", "lb"]),
    unreadable: fc.integer({ min: 0, max: 2 }),
    sinceWriteMs: fc.option(fc.integer({ min: 0, max: 6_000 }), { nil: undefined }),
  })
  .map(({ generation, isLeaving, isHeld, members, nodes, ...rest }) =>
    groupFacts({
      group: groupWith(
        {},
        {
          generation,
          finalizers: isHeld ? [SECURITY_GROUP_FINALIZER] : [],
          ...(isLeaving && { deletionTimestamp: "2026-02-03T04:05:00Z" }),
        },
      ),
      members: machines(members),
      nodes: [...new Map(nodes.map((node) => [node.name, node])).values()].map(
        ({ name, generation: at, lost }) => nodeAt(name, at, lost),
      ),
      ...rest,
    }),
  );

describe("Whatever is known of a SecurityGroup,", () => {
  test("once it is said there is nothing more to do", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const after = afterwards(facts, decideGroup(facts, NOW));
        expect(decideGroup({ ...after, sinceWriteMs: COUNT_INTERVAL_MS }, NOW).steps).toEqual([]);
      }),
    );
  });

  test("it is never released while a machine is in it, or may be", () => {
    const isReleased = (facts: GroupFacts): boolean =>
      stepsOf(decideGroup(facts, NOW)).includes("finalizers none");
    fc.assert(
      fc.property(anyFacts, (facts) => {
        expect(isReleased(facts) && facts.members.length + facts.unreadable > 0).toBe(false);
      }),
    );
  });

  test("the order in which nodes and machines are listed does not matter to what is stored", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const after = afterwards(facts, decideGroup(facts, NOW));
        const stored = after.group.status;
        if (stored === undefined) return;
        const shuffled = { ...stored, nodes: stored.nodes?.toReversed() };
        const group = { ...after.group, status: shuffled };
        expect(decideGroup({ ...after, group, sinceWriteMs: COUNT_INTERVAL_MS }, NOW).steps).toEqual([]);
      }),
    );
  });
});
