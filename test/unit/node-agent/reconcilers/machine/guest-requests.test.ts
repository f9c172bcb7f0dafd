import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { RunStrategy } from "../../../../../src/api/virtual-machine.ts";
import { observeGuest } from "../../../../../src/node-agent/reconcilers/machine/guest-record.ts";
import {
  createGuestRequests,
  refusalOf,
} from "../../../../../src/node-agent/reconcilers/machine/guest-requests.ts";
import {
  guestRequests,
  mustBeSaidFirst,
} from "../../../../../src/node-agent/reconcilers/machine/lifecycle.ts";
import {
  type Case,
  decideCase,
  ended,
  machineOf,
  nodeName,
  now,
  off,
  on,
  paused,
  running,
  secondsAgo,
} from "./situations.ts";

const asked = { ...running, restartRequestedAt: secondsAgo(3) };
const askedAndOff = { ...ended("Stopped", 1), restartRequestedAt: secondsAgo(3) };

const requestCases: readonly (readonly [string, Case])[] = [
  [
    "a guest that is to be paused is",
    { strategy: "Always", guest: running, domain: on, request: "pause", step: "pause" },
  ],
  [
    "a pause that was asked for before the agent was restarted is made",
    { strategy: "Always", guest: { ...running, pauseRequested: true }, domain: on, step: "pause" },
  ],
  [
    "a paused guest is kept so",
    { strategy: "Always", guest: { ...running, pauseRequested: true }, domain: paused, step: "keep" },
  ],
  [
    "a paused guest goes on when that is asked for",
    {
      strategy: "Always",
      guest: { ...running, pauseRequested: true },
      domain: paused,
      request: "unpause",
      step: "unpause",
    },
  ],
  [
    "a guest that a disk error has paused goes on when that is asked for",
    { strategy: "Always", guest: running, domain: paused, request: "unpause", step: "unpause" },
  ],
  [
    "a guest that is not paused need not be let go on",
    { strategy: "Always", guest: running, domain: on, request: "unpause", step: "keep" },
  ],
  [
    "a pause of a guest that is off starts nothing and pauses nothing",
    { strategy: "Once", guest: ended("GuestShutdown", 9), domain: off(), request: "pause", step: "rest" },
  ],
  [
    "a guest that is to be restarted is asked to shut down",
    { strategy: "Always", guest: running, domain: on, request: "restart", step: "press-power-button" },
  ],
  [
    "a restart presses again while the grace period lasts",
    { strategy: "Once", guest: asked, domain: on, step: "press-power-button" },
  ],
  [
    "a restart cuts the power after the grace period",
    { strategy: "Always", guest: asked, domain: on, grace: 3, step: "cut-power" },
  ],
  [
    "a paused guest goes on first when it is to shut down",
    { strategy: "Always", guest: asked, domain: paused, step: "unpause" },
  ],
  [
    "one that does not go on is cut after the grace period",
    { strategy: "Always", guest: asked, domain: paused, grace: 3, step: "cut-power" },
  ],
  ...(["Always", "RerunOnFailure", "Once"] as const).map((strategy): readonly [string, Case] => [
    `${strategy}: a guest that went off for a restart is started`,
    { strategy, guest: askedAndOff, domain: off("GuestShutdown"), step: "start" },
  ]),
  [
    "a machine that has succeeded is started when a restart is asked for",
    {
      strategy: "RerunOnFailure",
      guest: ended("GuestShutdown", 50),
      domain: off("GuestShutdown"),
      request: "restart",
      step: "start",
    },
  ],
  [
    "a restart does not wait for a back-off",
    {
      strategy: "Always",
      guest: ended("Crashed", 4, 3),
      domain: off("Crashed"),
      request: "restart",
      step: "start",
    },
  ],
  [
    "a restart that is asked for in the second in which the guest ended does not either",
    {
      strategy: "Always",
      guest: ended("Crashed", 0, 7),
      domain: off("Crashed"),
      request: "restart",
      step: "start",
    },
  ],
  [
    "a restart whose start failed in the second in which it was asked for does",
    {
      strategy: "Always",
      guest: { ...ended("StartFailed", 3, 7), restartRequestedAt: secondsAgo(3) },
      domain: off("Stopped"),
      step: "wait-for-restart",
    },
  ],
  [
    "a restart whose start failed does",
    {
      strategy: "Always",
      guest: { ...ended("StartFailed", 1), restartRequestedAt: secondsAgo(3) },
      domain: off("Stopped"),
      step: "wait-for-restart",
    },
  ],
  [
    "a restart of a machine that was halted meanwhile ends in rest",
    { strategy: "Halted", guest: askedAndOff, domain: off("Stopped"), step: "rest" },
  ],
  [
    "a restart of a machine that was deleted meanwhile ends in its release",
    { strategy: "Always", guest: askedAndOff, domain: off("Stopped"), deleting: true, step: "release" },
  ],
  [
    "a machine that moves is not stopped",
    { strategy: "Halted", guest: running, domain: on, migrating: "power", step: "hold" },
  ],
  [
    "a machine that moves is not started",
    { strategy: "Always", guest: ended("Stopped", 1), domain: off(), migrating: "power", step: "hold" },
  ],
  [
    "a deleted machine that moves is not released yet",
    { strategy: "Always", domain: off(), deleting: true, migrating: "power", step: "hold" },
  ],
  [
    "a machine whose move is only prepared is stopped all the same",
    { strategy: "Halted", guest: running, domain: on, migrating: "shape", step: "press-power-button" },
  ],
  [
    "a machine that is being restored is not started",
    { strategy: "Always", guest: ended("Stopped", 1), domain: off(), restoring: "Running", step: "hold" },
  ],
  [
    "a machine that is being restored is not stopped",
    { strategy: "Halted", guest: running, domain: on, restoring: "Running", step: "hold" },
  ],
  [
    "a deleted machine that is being restored is not released yet",
    { strategy: "Always", domain: off(), deleting: true, restoring: "Running", step: "hold" },
  ],
];

describe("what is asked of a guest", () => {
  test.each(requestCases)("%s", (_sentence, given) => {
    expect(decideCase(given).step.kind).toBe(given.step);
  });

  test("a guest that a restore has left paused stays paused by its record", () => {
    const given = { strategy: "Always", guest: running, restoring: "Paused", step: "" } as const;
    expect(decideCase({ ...given, domain: paused }).guest.pauseRequested).toBe(true);
    expect(decideCase({ ...given, domain: on }).guest.pauseRequested).toBeUndefined();
  });

  test("a machine that is halted in the middle of a restart keeps what it has had of its grace period", () => {
    const { guest: after } = decideCase({ strategy: "Halted", guest: asked, domain: on, step: "" });
    expect(after).toMatchObject({ shutdownRequestedAt: secondsAgo(3) });
    expect(after).not.toHaveProperty("restartRequestedAt");
  });

  test("a wish that has to outlive the agent is written down before it is acted on, and once", () => {
    for (const request of ["pause", "restart"] as const) {
      const given: Case = { strategy: "Always", guest: running, domain: on, request, step: "" };
      const first = decideCase(given);
      expect(mustBeSaidFirst(machineOf(given), first)).toBe(true);
      const { request: _, ...said } = { ...given, guest: first.guest };
      expect(decideCase(said).step).toEqual(first.step);
      expect(mustBeSaidFirst(machineOf(said), decideCase(said))).toBe(false);
    }
  });

  test("whatever was asked, a step of a guest that is on leads to what is wanted of it", () => {
    const anyCase = fc.record({
      strategy: fc.constantFrom<RunStrategy>("Always", "RerunOnFailure", "Once", "Halted"),
      guest: fc.constantFrom(running, asked, { ...running, pauseRequested: true }),
      domain: fc.constantFrom(on, paused),
      deleting: fc.boolean(),
      request: fc.option(fc.constantFrom(...guestRequests), { nil: undefined }),
    });
    fc.assert(
      fc.property(anyCase, ({ request, ...given }) => {
        const decision = decideCase({ ...given, ...(request === undefined ? {} : { request }), step: "" });
        const allowed = {
          run: ["keep", "pause", "unpause"],
          restart: ["press-power-button", "unpause"],
          stop: ["press-power-button", "unpause"],
          release: ["press-power-button", "unpause"],
          completed: [],
          restore: [],
          migrate: [],
        };
        expect(allowed[decision.goal.kind]).toContain(decision.step.kind);
        expect(decision.goal.kind === "run" || decision.guest.pauseRequested === undefined).toBe(true);
      }),
    );
  });

  test("a guest that went off for a restart did not end by itself", () => {
    const after = observeGuest(asked, off("GuestShutdown"), { nodeName, now });
    expect(after).toMatchObject({ lastExit: { reason: "Stopped" }, restartRequestedAt: secondsAgo(3) });
  });

  test("a restart is over when the guest is on again", () => {
    const after = observeGuest(askedAndOff, on, { nodeName, now });
    expect(after).toMatchObject({ restarts: 0, startedAt: secondsAgo(0) });
    expect(after).not.toHaveProperty("restartRequestedAt");
  });

  test.each<[string, Parameters<typeof refusalOf>, RegExp | undefined]>([
    [
      "a restart of a halted machine is refused, with what to do",
      ["restart", { machine: machineOf({ strategy: "Halted", step: "" }), domain: off() }],
      /runStrategy is Halted; set it/,
    ],
    [
      "a pause of a guest that is off is refused",
      ["pause", { machine: machineOf({ strategy: "Always", step: "" }), domain: off() }],
      /nothing to pause/,
    ],
    [
      "nothing is asked of a machine that is being deleted",
      ["restart", { machine: machineOf({ strategy: "Always", deleting: true, step: "" }), domain: on }],
      /deleted/,
    ],
    [
      "nothing is asked of a machine that is being restored",
      ["unpause", { machine: machineOf({ strategy: "Always", step: "" }), domain: on, restoring: "Running" }],
      /snapshot/,
    ],
    [
      "a machine that has ended can be restarted",
      ["restart", { machine: machineOf({ strategy: "Once", step: "" }), domain: off() }],
      undefined,
    ],
  ])("%s", (_sentence, given, refusal) => {
    const said = refusalOf(...given);
    if (refusal === undefined) expect(said).toBeUndefined();
    else expect(said).toMatch(refusal);
  });
});

describe("requests on their way to a pass", () => {
  const { signal } = new AbortController();

  test("are heeded one after the other, and answered when they are recorded or refused", async () => {
    const looks: string[] = [];
    const requests = createGuestRequests((uid) => void looks.push(uid));
    const answers = [
      requests.ask("a", "pause", { signal }),
      requests.ask("a", "unpause", { signal }),
      requests.ask("b", "restart", { signal }),
    ];
    expect([requests.next("a"), requests.next("b"), requests.next("c")]).toEqual([
      "pause",
      "restart",
      undefined,
    ]);
    requests.settle("a");
    await answers[0];
    expect(requests.next("a")).toBe("unpause");
    requests.settle("a", "it is off");
    await expect(answers[1]).rejects.toThrow("it is off");
    requests.settle("b");
    await answers[2];
    expect([requests.next("a"), requests.next("b")]).toEqual([undefined, undefined]);
    expect(looks).toEqual(["a", "a", "b", "a"]);
  });

  test("are forgotten when who asked has left", async () => {
    const requests = createGuestRequests(() => {});
    const life = new AbortController();
    const answer = requests.ask("a", "pause", { signal: life.signal });
    life.abort(new Error("left"));
    await expect(answer).rejects.toThrow("left");
    expect(requests.next("a")).toBeUndefined();
  });
});
