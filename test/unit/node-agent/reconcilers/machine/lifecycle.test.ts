import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { ExitReason, GuestStatus, VirtualMachine } from "../../../../../src/api/virtual-machine.ts";
import {
  observeGuest,
  recordStartFailure,
  restartDelayMs,
} from "../../../../../src/node-agent/reconcilers/machine/guest-record.ts";
import { decide } from "../../../../../src/node-agent/reconcilers/machine/lifecycle.ts";
import { machineWith } from "../../machines.ts";
import {
  type Case,
  decideCase,
  ended,
  guest,
  machineOf,
  nodeName,
  now,
  off,
  on,
  running,
  secondsAgo,
} from "./situations.ts";

const cases: readonly (readonly [string, Case])[] = [
  ["a new machine is started", { strategy: "Always", step: "start" }],
  ["a defined domain that never ran is started", { strategy: "Once", domain: off("Unknown"), step: "start" }],
  ["a running machine is kept", { strategy: "Always", guest: running, domain: on, step: "keep" }],
  ["a running guest that no status knows of is kept", { strategy: "Always", domain: on, step: "keep" }],
  [
    "a guest that shut itself down is started again",
    { strategy: "Always", guest: running, domain: off("GuestShutdown"), step: "start" },
  ],
  [
    "a second end in short order waits",
    {
      strategy: "Always",
      guest: { ...running, restarts: 1 },
      domain: off("Crashed"),
      step: "wait-for-restart",
    },
  ],
  [
    "a wait that is over ends in a start",
    { strategy: "Always", guest: ended("Crashed", 11, 1), domain: off("Crashed"), step: "start" },
  ],
  [
    "after a failed start the first retry waits",
    { strategy: "Always", guest: ended("StartFailed", 1), step: "wait-for-restart" },
  ],
  [
    "after the node's reboot the guest is started",
    { strategy: "Always", guest: running, domain: off("Unknown"), step: "start" },
  ],
  [
    "after the node's reboot without the domain the guest is started",
    { strategy: "RerunOnFailure", guest: running, step: "start" },
  ],
  [
    "RerunOnFailure leaves a guest off that shut itself down",
    { strategy: "RerunOnFailure", guest: running, domain: off("GuestShutdown"), step: "rest" },
  ],
  [
    "RerunOnFailure starts a guest that crashed",
    { strategy: "RerunOnFailure", guest: running, domain: off("Crashed"), step: "start" },
  ],
  [
    "RerunOnFailure starts a guest that its owner had stopped",
    { strategy: "RerunOnFailure", guest: ended("Stopped", 5), domain: off("GuestShutdown"), step: "start" },
  ],
  [
    "Once leaves a guest off that crashed",
    { strategy: "Once", guest: running, domain: off("Crashed"), step: "rest" },
  ],
  [
    "Once does not run twice when the end was not reported",
    { strategy: "Once", guest: guest({}), domain: off("GuestShutdown"), step: "rest" },
  ],
  [
    "Once tries again what could not be started",
    { strategy: "Once", guest: ended("StartFailed", 60), step: "start" },
  ],
  [
    "Halted presses the power button",
    { strategy: "Halted", guest: running, domain: on, step: "press-power-button" },
  ],
  [
    "Halted presses again while the grace period lasts",
    {
      strategy: "Halted",
      guest: { ...running, shutdownRequestedAt: secondsAgo(59) },
      domain: on,
      step: "press-power-button",
    },
  ],
  [
    "Halted cuts the power after the grace period",
    {
      strategy: "Halted",
      guest: { ...running, shutdownRequestedAt: secondsAgo(60) },
      domain: on,
      step: "cut-power",
    },
  ],
  [
    "no grace period cuts the power at once",
    { strategy: "Halted", guest: running, domain: on, grace: 0, step: "cut-power" },
  ],
  [
    "Halted and off is at rest",
    { strategy: "Halted", guest: ended("Stopped", 5), domain: off("Stopped"), step: "rest" },
  ],
  ["Halted and never run is at rest", { strategy: "Halted", step: "rest" }],
  [
    "a deleted running machine is shut down first",
    { strategy: "Always", guest: running, domain: on, deleting: true, step: "press-power-button" },
  ],
  [
    "a deleted machine that is off is released",
    { strategy: "Always", guest: ended("Stopped", 1), domain: off(), deleting: true, step: "release" },
  ],
  ["a deleted machine that never ran is released", { strategy: "Halted", deleting: true, step: "release" }],
];

describe("decide", () => {
  test.each(cases)("%s", (_sentence, given) => {
    expect(decideCase(given).step.kind).toBe(given.step);
  });

  test("the wait for a restart is asked for again when it is over", () => {
    const given: Case = {
      strategy: "Always",
      guest: ended("Crashed", 4, 1),
      domain: off("Crashed"),
      step: "",
    };
    expect(decide({ machine: machineOf(given), domain: given.domain, now }, nodeName).requeueAfterMs).toBe(
      6000,
    );
  });

  test("an owner's halt makes a machine that ended runnable again", () => {
    const given: Case = {
      strategy: "Halted",
      guest: ended("GuestShutdown", 50, 3),
      domain: off("GuestShutdown"),
      step: "",
    };
    const decision = decide({ machine: machineOf(given), domain: given.domain, now }, nodeName);
    expect(decision.guest).toMatchObject({ restarts: 0, lastExit: { reason: "Stopped" } });
  });
});

describe("observeGuest", () => {
  const at = { nodeName, now };

  test("a start after an end by itself counts as a restart", () => {
    expect(observeGuest(ended("Crashed", 20, 2), on, at)).toMatchObject({
      restarts: 3,
      startedAt: secondsAgo(0),
    });
  });

  test("a start after its owner's stop does not", () => {
    expect(observeGuest(ended("Stopped", 20, 2), on, at).restarts).toBe(0);
  });

  test("an end after a shutdown that was asked for is its owner's, whatever libvirt calls it", () => {
    const stopping = { ...running, shutdownRequestedAt: secondsAgo(3) };
    const after = observeGuest(stopping, off("GuestShutdown"), at);
    expect(after.lastExit?.reason).toBe("Stopped");
    expect(after.shutdownRequestedAt).toBeUndefined();
  });

  test("a long run makes the record clean", () => {
    const stable = guest({ powerState: "Running", restarts: 5, startedAt: secondsAgo(601) });
    expect(observeGuest(stable, off("Crashed"), at).restarts).toBe(0);
  });

  test("what a run had is gone with it", () => {
    const before: GuestStatus = { ...running, pauseRequested: true, vcpus: 2, memoryMiB: 512 };
    const after = observeGuest(before, off("Crashed"), at);
    for (const field of ["pauseRequested", "vcpus", "memoryMiB"]) expect(after).not.toHaveProperty(field);
  });

  test("seeing the same again changes nothing", () => {
    const anyGuest = fc.constantFrom(
      undefined,
      running,
      ended("Crashed", 20, 2),
      ended("Stopped", 3),
      guest({}),
    );
    const anyDomain = fc.constantFrom(
      undefined,
      on,
      off(),
      off("Crashed"),
      off("GuestShutdown"),
      off("Unknown"),
    );
    fc.assert(
      fc.property(anyGuest, anyDomain, (before, domain) => {
        const once = observeGuest(before, domain, at);
        expect(observeGuest(once, domain, at)).toEqual(once);
      }),
    );
  });
});

test("the delay of restarts doubles up to five minutes", () => {
  expect([0, 1, 2, 3, 6, 7, 50].map(restartDelayMs)).toEqual([
    0, 10_000, 20_000, 40_000, 300_000, 300_000, 300_000,
  ]);
});

test("failed starts in a row are counted", () => {
  const once = recordStartFailure(guest({}), "no", now);
  expect(once.restarts).toBe(0);
  expect(recordStartFailure(once, "no", now).restarts).toBe(1);
});

describe("a liveness probe", () => {
  const failed = { kind: "unhealthy", message: "cannot connect" } as const;
  const machine = (changes: Partial<VirtualMachine["spec"]> = {}, status: GuestStatus = running) =>
    machineWith({ spec: changes, status: { guest: status } });

  test("that fails cuts the power of a guest that runs, and the record says why", () => {
    const decision = decide({ machine: machine(), domain: on, liveness: failed, now }, nodeName);
    expect(decision).toMatchObject({
      step: { kind: "cut-power" },
      guest: { livenessFailure: "cannot connect" },
    });
  });

  test.each<[string, Parameters<typeof decide>[0], string]>([
    [
      "is not asked of a guest that is off",
      { machine: machine(), domain: off("Crashed"), liveness: failed, now },
      "start",
    ],
    [
      "does not blame a paused guest",
      { machine: machine(), domain: { ...on, powerState: "Paused" }, liveness: failed, now },
      "keep",
    ],
    [
      "does not take the time to shut down from a guest that is halted",
      { machine: machine({ runStrategy: "Halted" }), domain: on, liveness: failed, now },
      "press-power-button",
    ],
    [
      "that failed before the agent was restarted still cuts the power",
      { machine: machine({}, { ...running, livenessFailure: "x" }), domain: on, now },
      "cut-power",
    ],
  ])("%s", (_, facts, step) => {
    expect(decide(facts, nodeName).step.kind).toBe(step);
  });

  const cut = { ...running, livenessFailure: "cannot connect" };
  test.each<[string, GuestStatus, ExitReason, ExitReason]>([
    [
      "ends the guest for that reason, though libvirt only knows that it was stopped",
      cut,
      "Stopped",
      "LivenessProbeFailed",
    ],
    ["ends it for that reason when libvirt does not remember", cut, "Unknown", "LivenessProbeFailed"],
    ["does not hide that the guest crashed first", cut, "Crashed", "Crashed"],
    [
      "does not hide that its owner stopped it",
      { ...cut, shutdownRequestedAt: secondsAgo(5) },
      "Stopped",
      "Stopped",
    ],
  ])("%s", (_, before, exit, reason) => {
    const after = observeGuest(before, off(exit), { nodeName, now });
    expect(after.lastExit?.reason).toBe(reason);
    expect(after).not.toHaveProperty("livenessFailure");
  });

  test("is forgotten when the guest starts again", () => {
    const before = { ...ended("LivenessProbeFailed", 5), livenessFailure: "x" };
    const after = observeGuest(before, on, { nodeName, now });
    expect(after).toMatchObject({ powerState: "Running", restarts: 1 });
    expect(after).not.toHaveProperty("livenessFailure");
  });
});
