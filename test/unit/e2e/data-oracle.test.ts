import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import type { Write } from "../../e2e/support/data/blocks.ts";
import {
  acknowledge,
  type Contents,
  finish,
  issue,
  keyOf,
  NOTHING_WRITTEN,
  type Reading,
  resolve,
  restore,
} from "../../e2e/support/data/oracle.ts";

const DISKS = ["root", "one", "two"] as const;
const SLOTS = 4;
const places = DISKS.flatMap((disk) => Array.from({ length: SLOTS }, (_, slot) => ({ disk, slot })));

const place = fc.record({ disk: fc.constantFrom(...DISKS), slot: fc.nat(SLOTS - 1) });
const writes = fc
  .array(place, { minLength: 1, maxLength: 20 })
  .map((list) => list.map((each, index): Write => ({ ...each, sequence: index + 1 })));

/** What is read from all disks after these writes. */
const readingAfter = (done: readonly Write[]): Reading =>
  new Map(
    places.map((each) => [
      keyOf(each),
      done.findLast((write) => keyOf(write) === keyOf(each))?.sequence ?? 0,
    ]),
  );

const written = (done: readonly Write[]): Contents => finish(issue(NOTHING_WRITTEN, done));

describe("what may be on the disks", () => {
  test("is the first so many of what was begun, and no other choice of it", () => {
    fc.assert(
      fc.property(writes, fc.nat(), (list, number) => {
        const done = list.slice(0, number % (list.length + 1));
        const found = resolve(issue(NOTHING_WRITTEN, list), readingAfter(done));
        expect(found.maybe).toEqual([]);
        expect(resolve(found, readingAfter(done))).toEqual(found);
      }),
    );
  });

  test("is never without what was acknowledged", () => {
    fc.assert(
      fc.property(writes, fc.nat(), fc.nat(), (list, first, second) => {
        const acknowledged = 1 + (first % list.length);
        const lost = second % acknowledged;
        const contents = acknowledge(issue(NOTHING_WRITTEN, list), acknowledged);
        expect(() => resolve(contents, readingAfter(list.slice(0, lost)))).toThrow("at no moment");
        expect(resolve(contents, readingAfter(list)).maybe).toEqual([]);
      }),
    );
  });

  test("is all of it when the writer has come to its end", () => {
    fc.assert(
      fc.property(writes, (list) => {
        expect(() => resolve(written(list), readingAfter(list.slice(0, -1)))).toThrow("at no moment");
        expect(resolve(written(list), readingAfter(list))).toEqual(written(list));
      }),
    );
  });

  test("is not a later write without an earlier one: all disks show one moment", () => {
    const list: Write[] = [
      { disk: "root", slot: 0, sequence: 1 },
      { disk: "one", slot: 0, sequence: 2 },
    ];
    const [, second] = list;
    const reading = readingAfter(second === undefined ? [] : [second]);
    expect(() => resolve(issue(NOTHING_WRITTEN, list), reading)).toThrow("nearest: one/0 has 2 instead of 0");
  });

  test("tells a changed block whatever it has instead", () => {
    fc.assert(
      fc.property(writes, fc.constantFrom(...places), (list, where) => {
        const reading = new Map(readingAfter(list)).set(keyOf(where), 1000);
        expect(() => resolve(issue(NOTHING_WRITTEN, list), reading)).toThrow(`${keyOf(where)} has 1000`);
      }),
    );
  });

  test("is judged by the disks that can be read", () => {
    const list: Write[] = [{ disk: "two", slot: 0, sequence: 1 }];
    const withoutTwo = new Map([...readingAfter([])].filter(([key]) => !key.startsWith("two/")));
    expect(resolve(written(list), withoutTwo)).toEqual(written(list));
  });
});

describe("going back", () => {
  test("gives the snapshot's disks what they had, and leaves the others", () => {
    fc.assert(
      fc.property(writes, writes, fc.subarray([...DISKS]), (before, between, disks) => {
        const later = between.map((write) => ({ ...write, sequence: write.sequence + 100 }));
        const now = finish(issue(written(before), later));
        const back = restore(now, written(before), new Set(disks));
        const expected = new Map(
          places.map((each) => {
            const source = disks.includes(each.disk)
              ? readingAfter(before)
              : readingAfter([...before, ...later]);
            return [keyOf(each), source.get(keyOf(each)) ?? 0];
          }),
        );
        expect(resolve(back, expected).maybe).toEqual([]);
      }),
    );
  });

  test("to a snapshot that was taken while the guest wrote leaves open how far that had come", () => {
    const list: Write[] = [
      { disk: "root", slot: 0, sequence: 1 },
      { disk: "one", slot: 1, sequence: 2 },
    ];
    const snapshot = issue(NOTHING_WRITTEN, list);
    const back = restore(written(list), snapshot, new Set(DISKS));
    for (const count of [0, 1, 2]) {
      expect(resolve(back, readingAfter(list.slice(0, count))).maybe).toEqual([]);
    }
  });

  test("is refused while a disk is written that stays as it is", () => {
    const now = issue(NOTHING_WRITTEN, [{ disk: "two", slot: 0, sequence: 1 }]);
    expect(() => restore(now, NOTHING_WRITTEN, new Set(["root"]))).toThrow("is being written");
  });
});
