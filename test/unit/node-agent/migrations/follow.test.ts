import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { DomainJobType, type JobStats } from "../../../../src/libvirt/index.ts";
import {
  type DepartureProgress,
  downtimeLimit,
  follow,
} from "../../../../src/node-agent/migrations/follow.ts";

describe("The time that a guest may stand still", () => {
  test.each<[string, number, number | undefined, number]>([
    ["is a tenth of the maximum before anything is copied", 300, undefined, 30],
    ["is that while its memory is sent for the first time", 300, 1, 30],
    ["and while what it has written meanwhile is sent", 300, 2, 30],
    ["is doubled when that was not enough", 300, 3, 60],
    ["and again", 300, 4, 120],
    ["is the maximum in the end", 300, 6, 300],
    ["and stays so", 300, 1_000, 300],
    ["is never nothing", 1, undefined, 1],
  ])("%s", (_, max, iteration, expected) => {
    expect(downtimeLimit(max, iteration)).toBe(expected);
  });

  test("never shrinks, and is never longer than the maximum", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_000_000 }), fc.nat(2_000), (max, iteration) => {
        const now = downtimeLimit(max, iteration);
        expect(now).toBeLessThanOrEqual(max);
        expect(now).toBeLessThanOrEqual(downtimeLimit(max, iteration + 1));
      }),
    );
  });
});

/** What QEMU's looks are answered with, one after the other; the copy is over when all were given. */
const followed = async (answers: readonly (JobStats | Error)[]) => {
  const over = Promise.withResolvers<string>();
  const allowed: bigint[] = [];
  const told: DepartureProgress[] = [];
  const left = [...answers];
  const connection = {
    jobStats: async () => {
      const answer = left.shift();
      if (left.length === 0) over.resolve("moved");
      if (answer === undefined) throw new Error("it was looked at after its end");
      if (answer instanceof Error) throw answer;
      return answer;
    },
    setMigrationMaxDowntime: async (_ref: unknown, ms: bigint) => void allowed.push(ms),
  };
  const ref = { name: "guest", uuid: "u", id: 1 };
  const onProgress = (progress: DepartureProgress) => void told.push(progress);
  const moved = await follow(over.promise, { connection, ref, maxDowntimeMilliseconds: 300, onProgress });
  return { moved, allowed, told };
};

const MiB = 2n ** 20n;
const copying = (memoryRemaining: bigint, iteration?: number): JobStats => ({
  type: DomainJobType.UNBOUNDED,
  stats: new Map<string, bigint>([
    ["memory_total", 60n * MiB],
    ["memory_remaining", memoryRemaining],
    ["disk_total", 40n * MiB],
    ...(iteration === undefined ? [] : ([["memory_iteration", BigInt(iteration)]] as const)),
  ]),
});

describe("A copy that is followed", () => {
  test("is told, and may stop the guest for longer the more often its memory was gone through", async () => {
    const answers = [copying(60n * MiB), copying(10n * MiB, 1), copying(9n * MiB, 4), copying(8n * MiB, 9)];
    const { moved, allowed, told } = await followed([...answers, copying(8n * MiB, 10)]);
    expect(moved).toBe("moved");
    expect(allowed).toEqual([120n, 300n]);
    expect(told[0]).toEqual({ percent: 40, remainingMiB: 60, iteration: undefined });
    expect(told[1]).toEqual({ percent: 90, remainingMiB: 10, iteration: 1 });
  });

  test("is looked at again when it could not be, and says nothing of another job", async () => {
    const other = { ...copying(1n), type: DomainJobType.COMPLETED };
    const { told } = await followed([new Error("libvirt is busy"), other, copying(0n, 2), copying(0n, 2)]);
    expect(told[0]).toEqual({ percent: 99, remainingMiB: 0, iteration: 2 });
  });
});
