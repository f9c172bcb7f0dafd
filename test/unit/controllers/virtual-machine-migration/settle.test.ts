import { describe, expect, test } from "@jest/globals";

import { LEFTOVERS_FINALIZER } from "../../../../src/api/virtual-machine-migration.ts";
import { machineOf, stepsOf } from "../disk-objects.ts";
import { readyCondition } from "../objects.ts";
import { acceptedWith, decide, nodeWith, running } from "./migrating.ts";

describe("A migration that is over", () => {
  const there = machineOf("web", {}, { nodeName: "node-2" });
  test.each([
    ["Succeeded", running, false],
    ["Succeeded", there, true],
    ["Failed", running, true],
    ["Failed", there, false],
    ["Cancelled", running, true],
  ] as const)("and has %s is let go when the machine is where it belongs", (phase, machine, isLetGo) => {
    const { steps, outcome } = decide({ migrations: [acceptedWith({ phase })], machines: [machine] });
    expect(stepsOf(steps).includes(`finalizers ${LEFTOVERS_FINALIZER}`)).toBe(isLetGo);
    expect(outcome).toBe(isLetGo ? phase : undefined);
  });

  test("is let go when there is no machine any more", () => {
    const { steps } = decide({ migrations: [acceptedWith({ phase: "Succeeded" })], machines: [] });
    expect(stepsOf(steps)).toContain(`finalizers ${LEFTOVERS_FINALIZER}`);
  });

  test("tells why it has failed, once", () => {
    const conditions = [readyCondition("False", "MigrationFailed", "The machine stays: libvirtd has gone.")];
    const failed = (finalizers?: string[]) =>
      stepsOf(
        decide({
          migrations: [acceptedWith({ phase: "Failed", conditions }, finalizers && { finalizers })],
          machines: [running],
        }).steps,
      );
    expect(failed()).toContain("announce MigrationFailed");
    expect(failed([LEFTOVERS_FINALIZER])).not.toContain("announce MigrationFailed");
  });

  describe("is kept until the other node has nothing left of the machine", () => {
    const released = { ...readyCondition("True", "Released", "Nothing is left."), type: "Released" };
    const finalizers = [LEFTOVERS_FINALIZER];
    test.each([
      ["it has said nothing", [], ["node-1", "node-2"], false],
      ["it has said so", [released], ["node-1", "node-2"], true],
      ["it is gone for good", [], ["node-2"], true],
      ["the one that has the machine is gone for good", [], ["node-1"], false],
    ] as const)("when %s", (_, conditions, nodes, isLetGo) => {
      const migration = acceptedWith({ phase: "Succeeded", conditions: [...conditions] }, { finalizers });
      const hypervisors = nodes.map((name) => nodeWith(name));
      const { steps, outcome } = decide({ migrations: [migration], machines: [there], hypervisors });
      expect(stepsOf(steps).includes("finalizers none")).toBe(isLetGo);
      // It was counted when it was over.
      expect(outcome).toBeUndefined();
    });
  });
});
