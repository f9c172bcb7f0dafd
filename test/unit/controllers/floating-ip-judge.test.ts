import { describe, expect, test } from "@jest/globals";
import { judgeMachine } from "../../../src/controllers/floating-ip/judge.ts";
import {
  allocationWith,
  guestOn,
  hypervisorWith,
  lostHypervisor,
  placedMachine,
  readyCondition,
} from "./objects.ts";

describe("A machine", () => {
  const running = placedMachine({
    guest: guestOn("node-1"),
    conditions: [readyCondition("True", "Running")],
    allocation: allocationWith("10.0.0.9"),
  });

  test.each<[string, Parameters<typeof judgeMachine>[1], Parameters<typeof judgeMachine>[2], string]>([
    ["that runs and is Ready can have the address", running, hypervisorWith(), "healthy"],
    ["that does not exist loses it", undefined, undefined, "released MachineNotFound"],
    [
      "that is being deleted loses it",
      { ...running, metadata: { ...running.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } },
      hypervisorWith(),
      "released MachineDeleted",
    ],
    [
      "that is to halt loses it, though it still runs",
      { ...running, spec: { ...running.spec, runStrategy: "Halted" } },
      hypervisorWith(),
      "released MachineHalted",
    ],
    [
      "that is on no node cannot have it",
      { ...running, status: {} },
      undefined,
      "unhealthy MachineNotPlaced",
    ],
    ["on a lost node cannot have it", running, lostHypervisor(), "unhealthy NodeLost"],
    ["on a node that was removed cannot have it", running, undefined, "unhealthy NodeLost"],
    [
      "whose guest has crashed cannot have it",
      { ...running, status: { ...running.status, guest: { ...guestOn("node-1"), powerState: "Crashed" } } },
      hypervisorWith(),
      "unhealthy MachineNotRunning",
    ],
    [
      "that has just moved, and is Ready by the word of the node before, keeps it",
      { ...running, status: { ...running.status, guest: guestOn("node-0") } },
      hypervisorWith(),
      "healthy",
    ],
    [
      "that is started anew elsewhere cannot have it before it is Ready there",
      {
        ...running,
        status: {
          ...running.status,
          guest: guestOn("node-0"),
          conditions: [readyCondition("False", "Provisioning")],
        },
      },
      hypervisorWith(),
      "unhealthy MachineNotReady",
    ],
    [
      "that fails its readiness probe cannot have it",
      { ...running, status: { ...running.status, conditions: [readyCondition("False", "NotReady")] } },
      hypervisorWith(),
      "unhealthy MachineNotReady",
    ],
    [
      "that cannot be understood cannot have it, and does not lose it",
      "unreadable",
      hypervisorWith(),
      "unhealthy MachineUnreadable",
    ],
  ])("%s", (_, machine, hypervisor, expected) => {
    const verdict = judgeMachine("hello", machine, hypervisor);
    expect(verdict.kind === "healthy" ? "healthy" : `${verdict.kind} ${verdict.reason}`).toBe(expected);
  });
});
