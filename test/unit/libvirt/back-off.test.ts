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
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        fc.nat(2_000),
        (random, n) => {
          const pauses = take(new BackOff({ ...bounds, random: () => random }), n % 50);
          for (const pause of pauses) {
            expect(pause).toBeGreaterThanOrEqual(50);
            expect(pause).toBeLessThan(1_000);
          }
        },
      ),
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
