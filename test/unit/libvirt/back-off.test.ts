import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { BackOff } from "../../../src/libvirt/back-off.ts";

const bounds = { minMs: 100, maxMs: 1_000 };
const take = (backOff: BackOff, count: number): number[] =>
  Array.from({ length: count }, () => backOff.next());

describe("the pauses between attempts", () => {
  test("double up to the longest", () => {
    const backOff = new BackOff({ ...bounds, random: () => 0.5 });
    expect(take(backOff, 6)).toEqual([75, 150, 300, 600, 750, 750]);
  });

  test("are never under half of nor over the whole of their length", () => {
    const random = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
    fc.assert(
      fc.property(random, fc.integer({ min: 1, max: 2_000 }), (value, count) => {
        const pauses = take(new BackOff({ ...bounds, random: () => value }), count);
        for (const [attempt, pause] of pauses.entries()) {
          const whole = Math.min(1_000, 100 * 2 ** attempt);
          expect(pause).toBeGreaterThanOrEqual(whole / 2);
          expect(pause).toBeLessThanOrEqual(whole);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("begin anew after a connection that lasted", () => {
    const backOff = new BackOff({ ...bounds, random: () => 0 });
    take(backOff, 5);
    backOff.succeeded(1_000);
    expect(backOff.next()).toBe(50);
  });

  test("go on growing after a connection that did not", () => {
    const backOff = new BackOff({ ...bounds, random: () => 0 });
    take(backOff, 2);
    backOff.succeeded(999);
    expect(backOff.next()).toBe(200);
  });
});
