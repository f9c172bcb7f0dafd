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

const play = async (options: Omit<WorldOptions, "nodes">): Promise<World> => {
  const world = new World({ nodes: NODES, ...options });
  await world.run(RUN_MS);
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

  it.each([
    ["its claim moves", [claimTo(1, 5_000)], 1],
    ["its node is cut off", [claimTo(1, 6_000), { kind: "cut", who: 0, atMs: 5_000, forMs: 20_000 }], 1],
    ["its agent is killed and comes back", [{ kind: "crash", who: 0, atMs: 5_000, forMs: 500 }], 0],
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

function stalled(who: number, atMs: number, forMs: number): Fault {
  return { kind: "stall", who, atMs, forMs };
}
