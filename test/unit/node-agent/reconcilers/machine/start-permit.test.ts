import { describe, expect, test } from "@jest/globals";
import {
  refusalOfStart,
  type StartFacts,
} from "../../../../../src/node-agent/reconcilers/machine/start-permit.ts";
import { machineWith } from "../../machines.ts";

const machineOn = (
  nodeName: string,
  ready: "True" | "False" | "Unknown" = "False",
): StartFacts["machine"] => {
  const machine = machineWith();
  const condition = {
    type: "Ready",
    status: ready,
    reason: "Because",
    message: "",
    observedGeneration: 1,
    lastTransitionTime: "2026-01-01T00:00:00Z",
  };
  return { status: { ...machine.status, nodeName, conditions: [condition] } };
};

const fine: StartFacts = {
  nodeName: "node-1",
  sinceHeartbeatMs: 1_000,
  limitMs: 40_000,
  isOutOfService: false,
  machine: machineOn("node-1"),
};

describe("a guest", () => {
  test("may be started where its machine is, by an agent that is heard", () => {
    expect(refusalOfStart(fine)).toBeUndefined();
  });

  test.each<[string, Partial<StartFacts>, RegExp]>([
    ["before a heartbeat was acknowledged", { sinceHeartbeatMs: undefined }, /heartbeat/],
    ["when that is too long ago", { sinceHeartbeatMs: 40_000 }, /heartbeat/],
    ["on a node that is said to be switched off", { isOutOfService: true }, /outOfService/],
    ["while it is not known what is said of the node", { isOutOfService: undefined }, /outOfService/],
    ["when its machine is gone", { machine: undefined }, /not on this node/],
    ["when its machine is on another node", { machine: machineOn("node-2") }, /not on this node/],
    ["while its machine is said to be lost", { machine: machineOn("node-1", "Unknown") }, /lost/],
  ])("may not be started %s", (_, changes, reason) => {
    expect(refusalOfStart({ ...fine, ...changes })).toMatch(reason);
  });
});
