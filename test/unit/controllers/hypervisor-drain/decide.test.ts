import { describe, expect, test } from "@jest/globals";

import type { Hypervisor } from "../../../../src/api/hypervisor.ts";
import { decideDrain, type DrainDecision } from "../../../../src/controllers/hypervisor-drain/decide.ts";
import {
  attemptOf,
  DRAIN_LABEL,
  drainLabelOf,
  drainName,
} from "../../../../src/controllers/hypervisor-drain/names.ts";
import { observeDrain } from "../../../../src/controllers/hypervisor-drain/observe.ts";
import { DELETED, type Held, machineOf, migrationWith, storesWith } from "../disk-objects.ts";
import { NOW, readyCondition, uidOf } from "../objects.ts";
import { nodeWith, silent } from "../virtual-machine-migration/migrating.ts";

/** Emptying a node. */

const draining = (spec: Partial<Hypervisor["spec"]> = {}, status = {}): Hypervisor =>
  nodeWith("node-1", status, { drain: true, ...spec });

const decide = (held: Held, now = NOW): DrainDecision => {
  const facts = observeDrain(storesWith({ hypervisors: [draining()], ...held }), { name: "node-1" });
  if (facts === undefined) throw new Error("no facts");
  return decideDrain(facts, now);
};

const web = machineOf("web");
const [a, b, c] = ["a", "b", "c"].map((name, age) =>
  machineOf(name, {}, { meta: { creationTimestamp: `2026-01-01T00:00:0${age}Z` } }),
);
if (a === undefined || b === undefined || c === undefined) throw new Error("no machines");

/** The nth migration that was made to move the machine. */
const drainOf = (
  machine: typeof web,
  status?: Parameters<typeof migrationWith>[0],
  attempt = 1,
  meta: Parameters<typeof migrationWith>[1] = {},
) => {
  const name = drainName(machine, "node-1", attempt);
  const owner = {
    apiVersion: "vireo.dev/v1alpha1",
    kind: "VirtualMachine",
    name: machine.metadata.name,
    uid: machine.metadata.uid,
  };
  return migrationWith(
    status,
    { name, uid: uidOf(name), labels: { [DRAIN_LABEL]: "node-1" }, ownerReferences: [owner], ...meta },
    { virtualMachine: machine.metadata.name },
  );
};

const pending = (reason: string, message = "Because.") => ({
  phase: "Pending" as const,
  conditions: [readyCondition("False", reason, message)],
});
const failedAt = (lastTransitionTime: string) => ({
  phase: "Failed" as const,
  conditions: [
    readyCondition("False", "Failed", "It broke."),
    { ...readyCondition("True", "Failed", "It broke."), type: "Stalled", lastTransitionTime },
  ],
});

/** "create web 1", "delete web 1", "say". */
const stepsOf = ({ steps }: DrainDecision): readonly string[] =>
  steps.map((step) => {
    if (step.kind === "create")
      return `create ${step.machine.metadata.name} ${attemptOf({ ...step.machine, metadata: { ...step.machine.metadata, name: step.name } })}`;
    if (step.kind === "delete")
      return `delete ${step.migration.spec.virtualMachine} ${attemptOf(step.migration)}`;
    return "say";
  });

const wordsOf = ({ steps }: DrainDecision): readonly string[] =>
  steps.flatMap((step) =>
    step.kind === "say"
      ? step.conditions.map(({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`)
      : [],
  );

describe("A node that is drained", () => {
  test("is emptied by as many migrations as it may move", () => {
    expect(stepsOf(decide({ machines: [a, b, c] }))).toEqual(["create a 1", "create b 1", "say"]);
    const hypervisors = [draining({ maxParallelMigrations: 1 })];
    expect(stepsOf(decide({ machines: [a, b, c], hypervisors }))).toEqual(["create a 1", "say"]);
  });

  test("goes on with others while a machine waits for room, and not while it waits for its turn", () => {
    const hypervisors = [draining({ maxParallelMigrations: 1 })];
    const held = (reason: string) => ({
      machines: [a, b],
      hypervisors,
      migrations: [drainOf(a, pending(reason))],
    });
    expect(stepsOf(decide(held("Unschedulable")))).toEqual(["create b 1", "say"]);
    for (const reason of ["TooManyMigrations", "WaitingForTurn"])
      expect(stepsOf(decide(held(reason)))).toEqual(["say"]);
  });

  test("leaves alone what somebody moves already, and what goes anyway", () => {
    const users = migrationWith({ phase: "Pending" });
    const leaving = machineOf("a", {}, { meta: DELETED });
    expect(stepsOf(decide({ machines: [web, leaving], migrations: [users] }))).toEqual(["say"]);
  });

  test.each([
    [1, 29, [], 1_000],
    [1, 30, ["create web 2"], undefined],
    [2, 59, [], 1_000],
    [2, 60, ["create web 3"], undefined],
    [9, 599, [], 1_000],
    [9, 600, ["create web 10"], undefined],
  ])("tries again when attempt %s failed %s s ago: %j", (attempt, seconds, steps, requeueAfterMs) => {
    const migrations = [drainOf(web, failedAt("2026-02-03T04:05:06Z"), attempt)];
    const decision = decide({ machines: [web], migrations }, new Date(NOW.getTime() + seconds * 1000));
    expect(stepsOf(decision)).toEqual([...steps, "say"]);
    expect(decision.requeueAfterMs).toBe(requeueAfterMs);
  });

  test("forgets the attempts before the last, and after a while what has succeeded", () => {
    const migrations = [
      drainOf(web, failedAt("2026-02-03T04:00:00Z")),
      drainOf(web, pending("TooManyMigrations"), 2),
    ];
    expect(stepsOf(decide({ machines: [web], migrations }))).toEqual(["delete web 1", "say"]);
    const done = drainOf(web, { phase: "Succeeded", completedAt: "2026-02-03T04:05:06Z" });
    const later = (seconds: number) =>
      decide({ migrations: [done] }, new Date(NOW.getTime() + seconds * 1000));
    expect(stepsOf(later(299))).toEqual(["say"]);
    expect(later(299).requeueAfterMs).toBe(1000);
    expect(stepsOf(later(300))).toEqual(["delete web 1", "say"]);
  });

  test("says that it is empty, or what is left and why", () => {
    expect(wordsOf(decide({}))).toEqual(["Drained=True Empty: No machine is on the node."]);
    const migrations = [
      drainOf(a, pending("Unschedulable", "No node has room.")),
      drainOf(b, { phase: "Copying", sourceNode: "node-1", targetNode: "node-2" }),
    ];
    expect(wordsOf(decide({ machines: [a, b], migrations }))).toEqual([
      "Drained=False Draining: 2 machines are left. default/a: No node has room.",
    ]);
    const hypervisors = [draining({}, silent)];
    const lost = decide({ machines: [a], hypervisors });
    expect(stepsOf(lost)).toEqual(["say"]);
    expect(wordsOf(lost)[0]).toMatch(
      /^Drained=False NodeLost: One machine is left, and the node gives no sign/,
    );
  });

  test("says it once", () => {
    const [step] = decide({}).steps;
    if (step?.kind !== "say") throw new Error("nothing is said");
    const hypervisors = [
      draining({}, { conditions: [readyCondition("True", "AgentReady"), ...step.conditions] }),
    ];
    expect(decide({ hypervisors }).steps).toEqual([]);
  });
});

test("A drain that is taken back ends what has not begun, and leaves what has", () => {
  const said = { conditions: [{ ...readyCondition("False", "Draining"), type: "Drained" }] };
  const hypervisors = [nodeWith("node-1", said)];
  const migrations = [
    drainOf(a, pending("Unschedulable")),
    drainOf(b, { phase: "Preparing", sourceNode: "node-1", targetNode: "node-2" }),
  ];
  expect(stepsOf(decide({ machines: [a, b], hypervisors, migrations }))).toEqual(["delete a 1", "say"]);
});

test("Names fit, and tell machines and nodes apart", () => {
  const long = machineOf("w".repeat(60));
  expect(drainName(long, "node-1", 12)).toMatch(/^drain-w{40}-[0-9a-f]{10}-12$/);
  expect(drainName(web, "node-1", 1)).not.toBe(drainName(web, "node-2", 1));
  expect(drainLabelOf("n".repeat(200))).toHaveLength(51);
});
