import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { type EvictionFacts, planEviction } from "../../../../src/node-agent/disks/eviction.ts";

const image = (uid: string, sizeBytes: number, lastUsed: number) => ({
  uid,
  sizeBytes,
  lastUsedAt: new Date(lastUsed),
});
const images = [image("new", 10, 3), image("old", 10, 1), image("middle", 10, 2)];

describe("planEviction", () => {
  const cases: readonly [string, Partial<EvictionFacts>, readonly string[]][] = [
    ["nothing goes while all fits", { cacheBytes: 30 }, []],
    ["the least recently used goes first", { cacheBytes: 29 }, ["old"]],
    ["as many go as needed", { cacheBytes: 15 }, ["old", "middle"]],
    ["an image in use stays, however old", { cacheBytes: 15, inUse: new Set(["old"]) }, ["middle", "new"]],
    [
      "images in use may be more than the limit",
      { cacheBytes: 0, inUse: new Set(["old", "new"]) },
      ["middle"],
    ],
    ["nothing is cached with a limit of 0", { cacheBytes: 0 }, ["old", "middle", "new"]],
  ];
  test.each(cases)("%s", (_sentence, facts, expected) => {
    expect(planEviction({ images, inUse: new Set(), cacheBytes: 30, ...facts })).toEqual(expected);
  });

  test("the order of the images does not matter, none in use goes, and no victim is spared in vain", () => {
    const some = fc.uniqueArray(
      fc.record({ uid: fc.string(), sizeBytes: fc.nat(100), lastUsedAt: fc.date({ noInvalidDate: true }) }),
      { selector: ({ uid }) => uid },
    );
    fc.assert(
      fc.property(some, fc.nat(300), fc.nat(5), (found, cacheBytes, used) => {
        const inUse = new Set(found.slice(0, used).map(({ uid }) => uid));
        const victims = planEviction({ images: found, inUse, cacheBytes });
        expect(planEviction({ images: found.toReversed(), inUse, cacheBytes })).toEqual(victims);
        expect(victims.filter((uid) => inUse.has(uid))).toEqual([]);
        const sizeOf = (uids: readonly string[]) =>
          found.filter(({ uid }) => uids.includes(uid)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        const total = found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        if (victims.length > 0) expect(total - sizeOf(victims.slice(0, -1))).toBeGreaterThan(cacheBytes);
        if (victims.length + inUse.size < found.length)
          expect(total - sizeOf(victims)).toBeLessThanOrEqual(cacheBytes);
      }),
    );
  });
});
