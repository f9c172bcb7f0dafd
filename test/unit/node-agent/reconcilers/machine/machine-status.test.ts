import { describe, expect, test } from "@jest/globals";
import { findCondition } from "../../../../../src/api/condition.ts";
import type { GuestStatus } from "../../../../../src/api/virtual-machine.ts";
import { virtualMachines } from "../../../../../src/api/virtual-machine.ts";
import type { Goal } from "../../../../../src/node-agent/reconcilers/machine/lifecycle.ts";
import {
  machineStatus,
  readinessSaid,
  type StepOutcome,
} from "../../../../../src/node-agent/reconcilers/machine/machine-status.ts";
import type { Finding } from "../../../../../src/node-agent/probes/types.ts";
import { alreadySaid } from "../../../../../src/node-agent/report.ts";
import { machineWith } from "../../machines.ts";

const now = new Date("2026-01-01T12:00:00Z");
const off: GuestStatus = { nodeName: "node-1", powerState: "ShutOff", restarts: 0 };
const on: GuestStatus = { ...off, powerState: "Running", startedAt: "2026-01-01T11:00:00Z" };
const run: Goal = { kind: "run" };
const done: StepOutcome = { kind: "done" };

const fetching: StepOutcome = {
  kind: "no-disk",
  disk: { kind: "waiting", reason: "ImageFetching", message: "on its way" },
};
const refused: StepOutcome = {
  kind: "no-disk",
  disk: { kind: "refused", reason: "BackingFile", message: "it names a backing file" },
};
const noSpace: StepOutcome = {
  kind: "no-disk",
  disk: { kind: "failed", reason: "NoSpace", message: "disk full", retryAfterMs: 1000 },
};

describe("machineStatus", () => {
  test.each<[string, Goal, GuestStatus, StepOutcome, string, string, string]>([
    ["a running machine is ready", run, on, done, "Running", "True", "Running"],
    ["a paused machine is not", run, { ...on, powerState: "Paused" }, done, "Paused", "False", "Paused"],
    ["an image on its way is provisioning", run, off, fetching, "Provisioning", "False", "ImageFetching"],
    ["a refused image fails with its reason", run, off, refused, "Failed", "False", "BackingFile"],
    ["a full disk is provisioning with its reason", run, off, noSpace, "Provisioning", "False", "NoSpace"],
    [
      "a start that failed says so",
      run,
      off,
      { kind: "start-failed", message: "no" },
      "Starting",
      "False",
      "StartFailed",
    ],
    [
      "a back-off is called by its name",
      run,
      off,
      { kind: "waiting-for-restart" },
      "CrashLoopBackOff",
      "False",
      "CrashLoopBackOff",
    ],
    ["a machine that is halted and off is ready", { kind: "stop" }, off, done, "Stopped", "True", "Stopped"],
    ["a machine that is shutting down is not", { kind: "stop" }, on, done, "Stopping", "False", "Stopping"],
    [
      "a run that succeeded is ready",
      { kind: "completed", succeeded: true },
      off,
      done,
      "Succeeded",
      "True",
      "Succeeded",
    ],
    [
      "a run that failed is not",
      { kind: "completed", succeeded: false },
      off,
      done,
      "Failed",
      "False",
      "RunFailed",
    ],
    [
      "a deleted machine is terminating",
      { kind: "release" },
      on,
      done,
      "Terminating",
      "False",
      "Terminating",
    ],
    [
      "a released machine says so",
      { kind: "release" },
      off,
      { kind: "released" },
      "Terminating",
      "False",
      "Released",
    ],
  ])("%s", (_sentence, goal, guest, outcome, printable, ready, reason) => {
    const { status } = machineStatus({ machine: machineWith(), generation: 1, goal, guest, outcome, now });
    expect(status.printableStatus).toBe(printable);
    expect(findCondition(status.conditions, "Ready")).toMatchObject({ status: ready, reason });
    const hints = ["Reconciling", "Stalled"].filter(
      (type) => findCondition(status.conditions, type) !== undefined,
    );
    expect(hints).toHaveLength(ready === "True" ? 0 : 1);
  });

  describe("with a readiness probe", () => {
    const ready = (readiness: Finding, guest = on) => {
      const report = { machine: machineWith(), generation: 1, goal: run, guest, outcome: done, now };
      const { status } = machineStatus({ ...report, readiness });
      return { printable: status.printableStatus, ...findCondition(status.conditions, "Ready") };
    };
    const notReady = { printable: "Running", status: "False", reason: "ReadinessProbeFailed" };

    test.each<[string, Finding, object]>([
      ["a guest that has answered is ready", { kind: "healthy" }, { status: "True", reason: "Running" }],
      ["one that has not answered yet is not", { kind: "pending" }, notReady],
      [
        "one that fails is not, and the message says what was seen",
        { kind: "unhealthy", message: "HTTP status 500" },
        { ...notReady, message: "The guest runs, and its readiness probe fails: HTTP status 500." },
      ],
    ])("%s", (_, readiness, expected) => {
      expect(ready(readiness)).toMatchObject(expected);
    });

    test.each<[string, Finding]>([
      ["healthy", { kind: "healthy" }],
      ["pending", { kind: "pending" }],
      ["unhealthy", { kind: "unhealthy", message: "a: b." }],
    ])("a fresh agent reads back what its predecessor said: %s", (_, readiness) => {
      const report = { machine: machineWith(), generation: 1, goal: run, guest: on, outcome: done, now };
      const { status } = machineStatus({ ...report, readiness });
      expect(readinessSaid(machineWith({ status }))).toEqual(readiness);
    });

    test("what was said of a guest that is off, and what the controller says of a lost node, is no finding", () => {
      const condition = {
        type: "Ready",
        observedGeneration: 1,
        message: "",
        lastTransitionTime: "2026-01-01T00:00:00Z",
      };
      const stopped = { ...condition, status: "True", reason: "Stopped" } as const;
      const lost = { ...condition, status: "Unknown", reason: "NodeLost" } as const;
      expect(readinessSaid(machineWith({ status: { guest: off, conditions: [stopped] } })).kind).toBe(
        "pending",
      );
      expect(readinessSaid(machineWith({ status: { guest: on, conditions: [lost] } })).kind).toBe("pending");
    });

    test("a guest whose liveness probe failed is not ready, whatever the readiness probe says", () => {
      expect(ready({ kind: "healthy" }, { ...on, livenessFailure: "cannot connect" })).toMatchObject({
        printable: "Stopping",
        status: "False",
        reason: "LivenessProbeFailed",
        message: expect.stringContaining("cannot connect"),
      });
    });
  });

  test("what only another image cures is stalled", () => {
    const { status } = machineStatus({
      machine: machineWith(),
      generation: 1,
      goal: run,
      guest: off,
      outcome: refused,
      now,
    });
    expect(findCondition(status.conditions, "Stalled")).toMatchObject({
      status: "True",
      reason: "BackingFile",
    });
    expect(findCondition(status.conditions, "StorageReady")).toMatchObject({
      status: "False",
      reason: "BackingFile",
    });
  });

  test("saying it again is recognised, whatever the time", () => {
    const machine = machineWith();
    const first = machineStatus({ machine, generation: 1, goal: run, guest: on, outcome: done, now });
    const stored = virtualMachines.parse({ ...machine, status: { ...machine.status, ...first.status } });
    const later = new Date(now.getTime() + 60_000);
    expect(alreadySaid(machine, first)).toBe(false);
    expect(
      alreadySaid(
        stored,
        machineStatus({ machine: stored, generation: 1, goal: run, guest: on, outcome: done, now: later }),
      ),
    ).toBe(true);
  });

  test("a Ready that the controller took over is said again", () => {
    const machine = machineWith();
    const first = machineStatus({ machine, generation: 1, goal: run, guest: on, outcome: done, now });
    const lost = {
      ...first.status.conditions[0],
      type: "Ready",
      status: "Unknown",
      reason: "NodeLost",
      message: "",
    };
    const stored = virtualMachines.parse({
      ...machine,
      status: { ...machine.status, ...first.status, conditions: [lost, ...first.status.conditions.slice(1)] },
    });
    expect(alreadySaid(stored, first)).toBe(false);
  });
});
