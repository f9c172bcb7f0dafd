import { describe, expect, test } from "@jest/globals";
import type { GuestStatus } from "../../../../../src/api/virtual-machine.ts";
import { machineEvents } from "../../../../../src/node-agent/reconcilers/machine/announce.ts";
import {
  type GuestComparison,
  machineStatus,
  type MachineReport,
  type StepOutcome,
} from "../../../../../src/node-agent/reconcilers/machine/machine-status.ts";
import { machineWith } from "../../machines.ts";

const on: GuestStatus = {
  nodeName: "node-1",
  powerState: "Running",
  restarts: 0,
  startedAt: "2026-01-01T11:00:00Z",
};
const unhealthy = { kind: "unhealthy", message: "HTTP status 500" } as const;

const change = { path: "vcpus", current: "2", desired: "1" };
const kept = (comparison: Partial<GuestComparison>): StepOutcome => ({
  kind: "kept",
  comparison: { storage: [], pendingChanges: [], ...comparison },
  changes: 0,
});

const applyOf = (report: Partial<MachineReport>) =>
  machineStatus({
    machine: machineWith(),
    generation: 1,
    goal: { kind: "run" },
    guest: on,
    outcome: { kind: "done" },
    now: new Date("2026-01-01T12:00:00Z"),
    ...report,
  });

/** The events between two statuses of one machine, as "type reason". */
const events = (before: Partial<MachineReport> | undefined, after: Partial<MachineReport>): string[] => {
  const status = before === undefined ? {} : applyOf(before).status;
  return machineEvents(machineWith({ status }), applyOf(after)).map(
    ({ type, reason }) => `${type} ${reason}`,
  );
};

describe("the events of a machine", () => {
  test.each<[string, Partial<MachineReport> | undefined, Partial<MachineReport>, string[]]>([
    [
      "tell a start, and nothing of a probe that has had no time",
      undefined,
      { readiness: { kind: "pending" } },
      ["Normal GuestStarted"],
    ],
    [
      "tell a guest that is not ready for long",
      { readiness: { kind: "pending" } },
      { readiness: unhealthy },
      ["Warning ReadinessProbeFailed"],
    ],
    [
      "tell a guest that is no longer ready",
      { readiness: { kind: "healthy" } },
      { readiness: unhealthy },
      ["Warning ReadinessProbeFailed"],
    ],
    ["tell it once", { readiness: unhealthy }, { readiness: unhealthy }, []],
    ["are silent when it is ready again", { readiness: unhealthy }, { readiness: { kind: "healthy" } }, []],
    ["are silent while the power is being cut", {}, { guest: { ...on, livenessFailure: "x" } }, []],
    [
      "tell a volume that comes, and one that goes",
      { guest: { ...on, volumes: [{ name: "a", uid: "a", state: "Detaching" }] } },
      { guest: { ...on, volumes: [{ name: "b", uid: "b", state: "Attached" }] } },
      ["Normal VolumeAttached", "Normal VolumeDetached"],
    ],
    [
      "are silent about the volumes of a guest that ends",
      { guest: { ...on, volumes: [{ name: "a", uid: "a", state: "Attached" }] } },
      { guest: { ...on, powerState: "ShutOff" }, goal: { kind: "stop" } },
      [],
    ],
    [
      "tell a guest that does not let go of a volume",
      {},
      { outcome: kept({ storage: [{ reason: "DetachPending", message: "x" }] }) },
      ["Warning DetachPending"],
    ],
    [
      "tell once that something waits for a restart",
      { outcome: kept({ pendingChanges: [change] }) },
      { outcome: kept({ pendingChanges: [change, { ...change, path: "memory" }] }) },
      [],
    ],
    [
      "tell that something waits for a restart",
      {},
      { outcome: kept({ pendingChanges: [change] }) },
      ["Normal RestartRequired"],
    ],
    [
      "tell that it was",
      { guest: { ...on, livenessFailure: "x" } },
      {
        guest: {
          ...on,
          powerState: "ShutOff",
          lastExit: { reason: "LivenessProbeFailed", at: "2026-01-01T11:30:00Z", message: "x" },
        },
      },
      ["Warning LivenessProbeFailed", "Normal Starting"],
    ],
  ])("%s", (_, before, after, expected) => {
    expect(events(before, after)).toEqual(expected);
  });
});
