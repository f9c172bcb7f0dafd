import { describe, expect, test } from "@jest/globals";

import { isOn, powerOf, type Power } from "../../../../src/node-agent/domains/power-state.ts";
import {
  DomainCrashedReason,
  DomainPausedReason,
  DomainRunningReason,
  DomainShutoffReason,
  DomainState,
} from "../../../../src/libvirt/index.ts";

const { RUNNING, BLOCKED, PAUSED, SHUTDOWN, SHUTOFF, CRASHED, PMSUSPENDED, NOSTATE } = DomainState;

describe("a domain's state and reason mean", () => {
  test.each<[string, number, number, Power]>([
    ["running", RUNNING, DomainRunningReason.BOOTED, { powerState: "Running" }],
    ["resumed", RUNNING, DomainRunningReason.UNPAUSED, { powerState: "Running" }],
    ["waiting for a resource", BLOCKED, 0, { powerState: "Running" }],
    ["being started", PAUSED, DomainPausedReason.STARTING_UP, { powerState: "Paused" }],
    ["paused by somebody", PAUSED, DomainPausedReason.USER, { powerState: "Paused" }],
    ["stopped by a full disk", PAUSED, DomainPausedReason.IOERROR, { powerState: "Paused" }],
    ["powering off", SHUTDOWN, 0, { powerState: "Running" }],
    ["asleep", PMSUSPENDED, 0, { powerState: "Paused" }],
    ["panicked", CRASHED, DomainCrashedReason.PANICKED, { powerState: "Crashed", exit: "Crashed" }],
    [
      "powered off by the guest",
      SHUTOFF,
      DomainShutoffReason.SHUTDOWN,
      { powerState: "ShutOff", exit: "GuestShutdown" },
    ],
    ["destroyed", SHUTOFF, DomainShutoffReason.DESTROYED, { powerState: "ShutOff", exit: "Stopped" }],
    ["died", SHUTOFF, DomainShutoffReason.CRASHED, { powerState: "ShutOff", exit: "Crashed" }],
    ["never came up", SHUTOFF, DomainShutoffReason.FAILED, { powerState: "ShutOff", exit: "StartFailed" }],
    ["lost by libvirtd", SHUTOFF, DomainShutoffReason.DAEMON, { powerState: "ShutOff", exit: "Crashed" }],
    ["moved away", SHUTOFF, DomainShutoffReason.MIGRATED, { powerState: "ShutOff", exit: "Stopped" }],
    ["saved", SHUTOFF, DomainShutoffReason.SAVED, { powerState: "ShutOff", exit: "Stopped" }],
    [
      "off since before libvirtd started",
      SHUTOFF,
      DomainShutoffReason.UNKNOWN,
      { powerState: "ShutOff", exit: "Unknown" },
    ],
    ["a reason of a newer libvirt", SHUTOFF, 99, { powerState: "ShutOff", exit: "Unknown" }],
    ["a state of a newer libvirt", 99, 1, { powerState: "ShutOff", exit: "Unknown" }],
    ["no state", NOSTATE, 1, { powerState: "ShutOff", exit: "Unknown" }],
  ])("%s", (_what, state, reason, expected) => {
    const power = powerOf({ state, reason });
    expect(power).toEqual(expected);
    expect(isOn(power)).toBe(["Running", "Paused"].includes(expected.powerState));
  });

  test.each([
    ["state", DomainState],
    ["reason of being off", DomainShutoffReason],
  ])("something for every %s that our table of libvirt has", (_what, table) => {
    for (const value of Object.values(table)) {
      const power =
        table === DomainState
          ? powerOf({ state: value, reason: 0 })
          : powerOf({ state: SHUTOFF, reason: value });
      const known = value === 0 || value === SHUTOFF || power.exit !== "Unknown";
      expect(`${value}: ${known}`).toBe(`${value}: true`);
    }
  });
});
