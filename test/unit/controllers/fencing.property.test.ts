import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { FencingWorld } from "./fencing-world.ts";

type Action = keyof FencingWorld["actions"];

const names = Object.keys(new FencingWorld().actions) as Action[];

/** Things in the order in which they go well, so that worlds get far before something comes between. */
const ways: Readonly<Record<string, readonly Action[]>> = {
  agentBegins: ["agentBeginsWithDevice", "agentPrepares"],
  agentIsHeard: ["agentBeats", "beatIsCarriedOut", "beatIsAcknowledged"],
  agentWorks: ["agentArms", "agentReports", "agentLooks", "agentTakesBack"],
  agentStarts: ["agentWantsToStart", "agentConfirms", "agentStarts"],
  agentFeeds: ["agentMayFeed", "agentFeeds"],
  controllerFences: [
    "controllerSees",
    "controllerJudgesNode",
    "controllerReadsLease",
    "controllerTakesLease",
  ],
  controllerSpeaks: ["controllerSees", "controllerJudgesNode", "controllerSees", "controllerJudgesMachine"],
  controllerMoves: ["controllerSees", "controllerJudgesMachine", "controllerConfirms", "controllerEvacuates"],
};

type Event = { readonly acts: readonly Action[]; readonly ms?: number } | { readonly ms: number };

const { agentBegins = [], agentIsHeard = [], agentWorks = [], agentStarts = [], agentFeeds = [] } = ways;
const { controllerFences = [], controllerSpeaks = [], controllerMoves = [] } = ways;
const agentGoesOn = [...agentBegins, ...agentIsHeard, ...agentWorks, ...agentFeeds, ...agentStarts];
const controllerGoesOn = [...controllerSpeaks, ...controllerFences, ...controllerSpeaks];

const events: fc.Arbitrary<readonly Event[]> = fc.array(
  fc.oneof(
    { arbitrary: fc.constantFrom(...Object.values(ways)).map((acts) => ({ acts })), weight: 10 },
    { arbitrary: fc.constantFrom(...names).map((name) => ({ acts: [name] })), weight: 8 },
    { arbitrary: fc.constant({ acts: agentGoesOn }), weight: 2 },
    {
      arbitrary: fc.integer({ min: 1, max: 60 }).map((s) => ({ ms: s * 1000, acts: controllerGoesOn })),
      weight: 10,
    },
    { arbitrary: fc.integer({ min: 1, max: 60 }).map((seconds) => ({ ms: seconds * 1000 })), weight: 2 },
  ),
  { maxLength: 70, size: "max" },
);
const rates = fc.constantFrom(0.98, 1, 1.02);

const live = (world: FencingWorld, event: Event): void => {
  if (event.ms !== undefined) world.pass(event.ms);
  if ("acts" in event) for (const name of event.acts) world.actions[name]();
};

test("no machine is started elsewhere while its guest may still run here", () => {
  const seen = { evacuated: 0, reset: 0, startedAgain: 0 };
  fc.assert(
    fc.property(rates, events, (rate, order) => {
      const world = new FencingWorld(rate);
      for (const event of order) {
        live(world, event);
        expect(world.isTwice).toBe(false);
      }
      if (world.stored.machine.nodeName !== "node-1") seen.evacuated += 1;
      if (world.resets > 0) seen.reset += 1;
      if (world.resets > 0 && world.guestRuns) seen.startedAgain += 1;
    }),
    { numRuns: 2500 },
  );
  // The orders that were drawn get to where it matters.
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(20);
});

test("a node with a watchdog that dies has its machine started elsewhere, three minutes after its last heartbeat", () => {
  const world = new FencingWorld();
  for (const acts of [agentGoesOn, controllerFences]) live(world, { acts });
  expect(world.guestRuns).toBe(true);
  world.actions.agentDies();
  const round = (): void => {
    for (const acts of [controllerGoesOn, controllerMoves]) live(world, { acts });
  };
  for (let seconds = 0; seconds < 165; seconds += 5) {
    world.pass(5_000);
    round();
    expect(world.stored.machine.nodeName).toBe("node-1");
  }
  expect(world.resets).toBe(1);
  world.pass(10_000);
  round();
  expect(world.stored.machine.nodeName).toBe("node-2");
});

test("a node that is back does not start a machine that may be on its way to another one", () => {
  const world = new FencingWorld();
  for (const acts of [agentGoesOn, controllerFences]) live(world, { acts });
  world.actions.agentDies();
  for (let seconds = 0; seconds < 180; seconds += 10) live(world, { ms: 10_000, acts: controllerGoesOn });
  // The controller has read that the Lease is still taken, and is about to write.
  for (const name of controllerMoves.slice(0, -1)) world.actions[name]();
  expect(world.evacuating?.isConfirmed).toBe(true);
  for (const acts of [agentBegins, agentIsHeard, ["agentArms", "agentReports"], agentStarts] as const)
    live(world, { acts });
  expect(world.agent?.isWorking).toBe(true);
  expect(world.guestRuns).toBe(false);
  world.actions.controllerEvacuates();
  expect(world.stored.machine.nodeName).toBe("node-2");
});

test("a node that is cut off is reset before its machine is started elsewhere, however long its agent lives", () => {
  const world = new FencingWorld();
  for (const acts of [agentGoesOn, controllerFences]) live(world, { acts });
  world.actions.networkBreaks();
  for (let seconds = 0; seconds < 180; seconds += 5) {
    live(world, { ms: 5_000, acts: [...agentFeeds, ...controllerGoesOn, ...controllerMoves] });
    expect(world.isTwice).toBe(false);
  }
  expect(world.resets).toBe(1);
  expect(world.stored.machine.nodeName).toBe("node-2");
});

/** A node that was switched off, and said to be; its machine is fenced with it. */
const switchedOff = (): FencingWorld => {
  const world = new FencingWorld();
  for (const acts of [agentGoesOn, controllerFences]) live(world, { acts });
  live(world, { acts: ["powerOff", "personSaysOff"] });
  for (let seconds = 0; seconds < 60; seconds += 10) live(world, { ms: 10_000, acts: controllerGoesOn });
  expect(world.stored.node.fenced).toBe("OutOfService");
  return world;
};
const agentIsBack: readonly Action[] = [
  "powerOn",
  "agentBeginsWithout",
  "agentPrepares",
  ...agentIsHeard,
  "agentArms",
  "agentLooks",
  "agentTakesBack",
];

test("a node that is said to be switched off starts nothing until that is taken back", () => {
  const world = switchedOff();
  live(world, { acts: [...agentIsBack, ...agentStarts] });
  expect(world.guestRuns).toBe(false);
  live(world, { acts: ["personTakesBack", ...agentStarts] });
  expect(world.guestRuns).toBe(true);
});

test("a machine whose node was heard since it was fenced stays, also before the controller has seen that", () => {
  const world = switchedOff();
  live(world, { acts: [...agentIsBack, "personTakesBack", ...agentStarts] });
  expect(world.guestRuns).toBe(true);
  // It sees the node as it was said to be, and says of the machine that it is lost, once more.
  live(world, { acts: ["controllerSees", "controllerJudgesMachine", ...controllerMoves] });
  expect(world.stored.machine).toMatchObject({ nodeName: "node-1", saysLost: true });
});
