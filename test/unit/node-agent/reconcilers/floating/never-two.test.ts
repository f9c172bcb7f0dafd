import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";

import { type Fault, World, type WorldOptions } from "./world.ts";

/**
 * The proof that no two nodes answer for one address: the agents themselves,
 * in a world that delays, loses, stalls, cuts and crashes as it likes.
 */

const NODES = 3;
const RUN_MS = 30_000;

const fault = fc.record({
  kind: fc.constantFrom<Fault["kind"][]>("claim", "claim", "claim", "crash", "cut", "stall", "slow-host"),
  who: fc.integer({ min: 0, max: NODES }),
  atMs: fc.integer({ min: 0, max: RUN_MS - 5_000 }),
  forMs: fc.integer({ min: 100, max: 12_000 }),
});

const play = async ({
  forMs = RUN_MS,
  ...options
}: Omit<WorldOptions, "nodes"> & { readonly forMs?: number }): Promise<World> => {
  const world = new World({ nodes: NODES, ...options });
  await world.run(forMs);
  return world;
};

const claimTo = (who: number, atMs: number): Fault => ({ kind: "claim", who, atMs, forMs: 0 });

describe("a floating address among three nodes", () => {
  it("is answered for by two nodes at no moment, whatever fails, and by the right one in the end", async () => {
    let holds = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { minLength: 3, maxLength: 14 }),
        fc.integer(),
        async (faults, seed) => {
          const world = await play({ faults: [claimTo(0, 0), ...faults], seed });
          holds += world.holds;
          expect(world.violations).toEqual([]);
          const claim = world.api.floatingIp.status?.claim?.nodeName;
          expect(world.api.floatingIp.status?.holder?.nodeName).toBe(claim);
          expect(world.settled.map((node) => `node-${node}`)).toEqual(claim === undefined ? [] : [claim]);
        },
      ),
      { numRuns: 40 },
    );
    // It is no proof if nobody held anything.
    expect(holds).toBeGreaterThan(40);
  }, 300_000);

  it("is answered for by one node when its node falls silent in the middle of anything", async () => {
    const silence = fc.record({
      atMs: fc.integer({ min: 3_000, max: 6_000 }),
      isSlow: fc.boolean(),
      isKilled: fc.boolean(),
      seed: fc.integer(),
    });
    await fc.assert(
      fc.asyncProperty(silence, async ({ atMs, isSlow, isKilled, seed }) => {
        const slow: Fault = { kind: "slow-host", who: 0, atMs: 2_000, forMs: 8_000 };
        const killed: Fault = { kind: "crash", who: 0, atMs, forMs: 300 };
        const world = await play({
          seed,
          forMs: 14_000,
          faults: [
            claimTo(0, 0),
            claimTo(1, atMs + 500),
            cut(0, atMs, 7_000),
            stalled(0, atMs, 10_000),
            ...(isSlow ? [slow] : []),
            ...(isKilled ? [killed] : []),
          ],
        });
        expect(world.violations).toEqual([]);
        expect(world.settled).toEqual([1]);
      }),
      { numRuns: 30 },
    );
  }, 300_000);

  it.each([
    ["its claim moves", [claimTo(1, 5_000)], 1],
    ["its node is cut off", [claimTo(1, 6_000), cut(0, 5_000, 20_000)], 1],
    ["its agent is killed and comes back", [{ kind: "crash", who: 0, atMs: 5_000, forMs: 500 }], 0],
    [
      "its node was cut off and does not hear what happened meanwhile",
      [claimTo(1, 5_500), cut(0, 5_000, 6_000), stalled(0, 5_000, 15_000)],
      1,
    ],
    [
      "its agent is killed, and the next one cut off, which then knows no more than its device",
      [
        claimTo(1, 5_500),
        { kind: "crash", who: 0, atMs: 5_000, forMs: 300 },
        cut(0, 5_000, 6_000),
        stalled(0, 5_000, 15_000),
      ],
      1,
    ],
    ["its agent does not hear that the claim moved", [claimTo(1, 5_000), stalled(0, 4_000, 8_000)], 1],
  ] satisfies [string, Fault[], number][])(
    "is held by the right node after %s",
    async (_, faults, node) => {
      const world = await play({ faults: [claimTo(0, 0), ...faults], seed: 7 });
      expect(world.violations).toEqual([]);
      expect(world.settled).toEqual([node]);
    },
    60_000,
  );

  it("would be answered for twice if the controller went by the renewals that it saw alone", async () => {
    // The node goes on renewing; it does not hear of the claim, nor the controller of the renewals.
    const faults = [
      claimTo(0, 0),
      claimTo(1, 5_000),
      stalled(0, 4_900, 12_000),
      stalled(NODES, 5_600, 12_000),
    ];
    const naive = await play({ faults, seed: 7, controllerFences: false });
    expect(naive.violations.join("\n")).toContain("answers beside");
    const fencing = await play({ faults, seed: 7 });
    expect(fencing.violations).toEqual([]);
  }, 60_000);
});

function cut(who: number, atMs: number, forMs: number): Fault {
  return { kind: "cut", who, atMs, forMs };
}

function stalled(who: number, atMs: number, forMs: number): Fault {
  return { kind: "stall", who, atMs, forMs };
}
