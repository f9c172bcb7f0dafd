import { describe, expect, test } from "@jest/globals";
import type { RawObject } from "../../../../../src/kube/index.ts";
import { createIsMoving } from "../../../../../src/node-agent/reconcilers/migration/moving-machines.ts";
import {
  judgeOrphan,
  type OrphanDecision,
  type OrphanFacts,
} from "../../../../../src/node-agent/reconcilers/machine/remove-orphan.ts";

const here = { nodeName: "node-1", unreadable: undefined, found: undefined, isMoving: false };

describe("what is here of a guest that is not among the node's machines", () => {
  test.each<[string, Partial<OrphanFacts>, OrphanDecision["kind"]]>([
    ["goes, with its data, when no machine of the cluster has its UID", {}, "remove"],
    ["goes also when a migration of the machine that is gone is not over", { isMoving: true }, "remove"],
    ["is left alone when its machine is this node's and cannot be read", { unreadable: "bad" }, "leave"],
    ["is left alone when its machine has lost its status", { found: { nodeName: undefined } }, "leave"],
    ["is left alone when its machine is this node's after all", { found: { nodeName: "node-1" } }, "leave"],
    ["ends when its machine is on another node", { found: { nodeName: "node-2" } }, "expel"],
    [
      "is left alone when a migration has a say in where its machine is",
      { found: { nodeName: "node-2" }, isMoving: true },
      "leave",
    ],
  ])("%s", (_, facts, kind) => {
    expect(judgeOrphan({ ...here, ...facts }).kind).toBe(kind);
  });

  test("ends naming the node that its machine is on", () => {
    const decision = judgeOrphan({ ...here, found: { nodeName: "node-2" } });
    expect(decision).toEqual({ kind: "expel", home: "node-2" });
  });
});

describe("whether a migration has a say", () => {
  const migration = (status: unknown, finalizers?: readonly string[]): RawObject => ({
    metadata: { name: "m", ...(finalizers === undefined ? {} : { finalizers }) },
    status,
  });
  const held = ["vireo.dev/migration"];

  test.each<[string, RawObject | undefined, boolean]>([
    ["none does when there is none", undefined, false],
    ["another machine's does not", migration({ machineUid: "other", phase: "Copying" }, held), false],
    ["one that is accepted does", migration({ machineUid: "vm", phase: "Preparing" }, held), true],
    ["one that copies does", migration({ machineUid: "vm", phase: "Copying" }, held), true],
    ["one that switches does", migration({ machineUid: "vm", phase: "Switching" }, held), true],
    [
      "one that failed does until the machine's status names its node",
      migration({ machineUid: "vm", phase: "Failed" }, held),
      true,
    ],
    ["one that failed does not afterwards", migration({ machineUid: "vm", phase: "Failed" }), false],
    ["one that succeeded does not afterwards", migration({ machineUid: "vm", phase: "Succeeded" }), false],
    ["one without a phase does", migration({ machineUid: "vm" }), true],
    ["one that cannot be understood does", migration("odd"), true],
  ])("%s", async (_, item, expected) => {
    const asked: (string | undefined)[] = [];
    const isMoving = createIsMoving({
      nodeName: "node-1",
      client: {
        listRaw: async (_resource, { fieldSelector }) => {
          asked.push(fieldSelector);
          const isMatch = item !== undefined && fieldSelector === "status.targetNode=node-1";
          return { items: isMatch ? [item] : [], resourceVersion: "1" };
        },
      },
    });
    expect(await isMoving("vm", { signal: new AbortController().signal })).toBe(expected);
    expect(asked).toEqual(["status.sourceNode=node-1", "status.targetNode=node-1"]);
  });
});
