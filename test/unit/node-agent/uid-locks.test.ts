import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { createUidLocks } from "../../../src/node-agent/uid-locks.ts";

/** One that lets others go on a few times before it is over. */
const steps = async (count: number): Promise<void> => {
  for (let step = 0; step < count; step += 1) await Promise.resolve();
};

describe("who holds UIDs", () => {
  const anyWork = fc.record({
    uids: fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 4 }),
    count: fc.nat({ max: 5 }),
    fails: fc.boolean(),
  });

  test("is alone with all of them, and everybody's turn comes, whatever they hold", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyWork, { maxLength: 12 }), async (works) => {
        const locks = createUidLocks();
        const held = new Set<string>();
        const results = await Promise.allSettled(
          works.map(({ uids, count, fails }) =>
            locks.hold(uids, async () => {
              const own = new Set(uids);
              for (const uid of own) {
                expect(held.has(uid)).toBe(false);
                held.add(uid);
              }
              await steps(count);
              for (const uid of own) held.delete(uid);
              if (fails) throw new Error("it failed");
              return "done";
            }),
          ),
        );
        expect(results.map(({ status }) => status)).toEqual(
          works.map(({ fails }) => (fails ? "rejected" : "fulfilled")),
        );
      }),
    );
  });

  test("gets its turn in the order of arrival", async () => {
    const locks = createUidLocks();
    const order: number[] = [];
    await Promise.all(
      [3, 0, 2, 1].map((count, index) =>
        locks.hold(["a"], async () => {
          await steps(count);
          order.push(index);
        }),
      ),
    );
    expect(order).toEqual([0, 1, 2, 3]);
  });
});
