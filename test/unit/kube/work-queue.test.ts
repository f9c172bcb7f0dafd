import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { createMetrics } from "../../../src/kube/metrics.ts";
import { createWorkQueue, type WorkQueue, type WorkResult } from "../../../src/kube/work-queue.ts";
import { ManualClock, settle } from "../../fakes/manual-clock.ts";

const done: WorkResult = { kind: "done" };

/** A queue whose work ends when the test says so. */
const createBench = (options: { workers?: number } = {}) => {
  const clock = new ManualClock();
  const metrics = createMetrics();
  const queue: WorkQueue<string> = createWorkQueue({
    name: "test",
    workers: options.workers ?? 1,
    backoff: { initialMs: 100, maxMs: 1000 },
    metrics,
    clock,
    random: () => 0,
  });
  const stop = new AbortController();
  const started: string[] = [];
  const working = new Map<string, (result: WorkResult | Error) => void>();
  const ended = queue.run((key) => {
    started.push(key);
    return new Promise((resolve, reject) => {
      working.set(key, (result) => {
        working.delete(key);
        if (result instanceof Error) reject(result);
        else resolve(result);
      });
    });
  }, stop.signal);
  const finish = async (key: string, result: WorkResult | Error = done): Promise<void> => {
    working.get(key)?.(result);
    await settle();
  };
  return { clock, metrics, queue, stop, started, working, ended, finish };
};

describe("createWorkQueue", () => {
  test("a key that is added many times before it is worked on is worked on once", async () => {
    const { queue, started, finish } = createBench();
    for (const key of ["a", "b", "a", "b", "b"]) queue.add(key);
    await settle();
    await finish("a");
    await finish("b");
    expect(started).toEqual(["a", "b"]);
  });

  test("a key that is added while it is worked on comes again afterwards, never beside", async () => {
    const { queue, started, working, finish } = createBench({ workers: 4 });
    queue.add("a");
    await settle();
    queue.add("a");
    queue.add("a");
    await settle();
    expect([started, working.size]).toEqual([["a"], 1]);
    await finish("a");
    expect([started, working.size]).toEqual([["a", "a"], 1]);
    await finish("a");
    expect([started, working.size]).toEqual([["a", "a"], 0]);
  });

  test("as many keys as there are workers are worked on at a time, in their order", async () => {
    const { queue, started, finish } = createBench({ workers: 2 });
    for (const key of ["a", "b", "c", "d"]) queue.add(key);
    await settle();
    expect(started).toEqual(["a", "b"]);
    await finish("b");
    expect(started).toEqual(["a", "b", "c"]);
    await finish("c");
    expect(started).toEqual(["a", "b", "c", "d"]);
  });

  test("a failing key waits longer each time, up to the most, and holds up no other", async () => {
    const { clock, queue, started, finish } = createBench();
    queue.add("bad");
    await settle();
    const waits: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      await finish("bad", round % 2 === 0 ? { kind: "retry" } : new Error("rejected"));
      const count = started.length;
      const since = clock.monotonic();
      while (started.length === count) await clock.advance(25);
      waits.push(clock.monotonic() - since);
    }
    expect(waits).toEqual([50, 100, 200, 400, 500, 500]);
    await finish("bad", { kind: "retry" });
    queue.add("good");
    await settle();
    expect(started.at(-1)).toBe("good");
  });

  test("success makes the failures forgotten", async () => {
    const { clock, queue, started, finish } = createBench();
    queue.add("a");
    await settle();
    for (let round = 0; round < 3; round += 1) {
      await finish("a", { kind: "retry" });
      await clock.advance(1000);
    }
    await finish("a", done);
    queue.add("a");
    await settle();
    await finish("a", { kind: "retry" });
    await clock.advance(50);
    expect(started).toHaveLength(6);
  });

  test("a server's wish for a pause is longer than the back-off", async () => {
    const { clock, queue, started, finish } = createBench();
    queue.add("a");
    await settle();
    await finish("a", { kind: "retry", atLeastMs: 5000 });
    await clock.advance(4999);
    expect(started).toHaveLength(1);
    await clock.advance(1);
    expect(started).toHaveLength(2);
  });

  test("a change brings a waiting key back at once, and its timer is void", async () => {
    const { clock, queue, started, finish } = createBench();
    queue.add("a");
    await settle();
    await finish("a", { kind: "requeue-after", ms: 60_000 });
    queue.add("a");
    await settle();
    await finish("a", done);
    await clock.advance(120_000);
    expect(started).toEqual(["a", "a"]);
  });

  test("of several delayed wishes the earliest counts, and it survives other work on the key", async () => {
    const { clock, queue, started, finish } = createBench();
    queue.addAfter("a", 500);
    queue.addAfter("a", 200);
    queue.addAfter("a", 900);
    queue.add("a");
    await settle();
    await finish("a");
    expect(started).toEqual(["a"]);
    await clock.advance(200);
    await finish("a");
    expect(started).toEqual(["a", "a"]);
    await clock.advance(2000);
    expect(started).toEqual(["a", "a"]);
  });

  test("a delay that is over is no delay", async () => {
    const { queue, started } = createBench();
    queue.addAfter("a", 0);
    await settle();
    expect(started).toEqual(["a"]);
  });

  test("keys added before it runs are kept for then", async () => {
    const queue = createWorkQueue<string>({ name: "early", workers: 1 });
    queue.add("a");
    const stop = new AbortController();
    const seen: string[] = [];
    const ended = queue.run(async (key) => {
      seen.push(key);
      stop.abort();
      return done;
    }, stop.signal);
    await ended;
    expect(seen).toEqual(["a"]);
  });

  test("an abort starts nothing more, waits for what runs, and leaves no timer", async () => {
    const { clock, queue, stop, started, ended, finish } = createBench();
    let isOver = false;
    void ended.then(() => (isOver = true));
    queue.add("a");
    queue.add("b");
    queue.addAfter("c", 100);
    await settle();
    stop.abort();
    await settle();
    expect([started, isOver]).toEqual([["a"], false]);
    await finish("a", { kind: "retry" });
    expect([started, isOver, clock.pendingTimers]).toEqual([["a"], true, 0]);
  });

  test("depth, waiting time and retries are measured", async () => {
    const { clock, metrics, queue, finish } = createBench();
    queue.add("a");
    await settle();
    queue.add("b");
    queue.add("c");
    await clock.advance(2000);
    expect((await metrics.queueDepth.get()).values).toEqual([{ labels: { queue: "test" }, value: 2 }]);
    await finish("a", { kind: "retry" });
    const text = await metrics.registry.metrics();
    expect(text).toContain('vireo_queue_wait_seconds_sum{queue="test"} 2');
    expect(text).toContain('vireo_queue_retries_total{queue="test"} 1');
  });

  test("whatever is added and however work ends: no key beside itself, never too many, and none forgotten", async () => {
    const key = fc.constantFrom("a", "b", "c", "d");
    const step = fc.oneof(
      fc.record({ kind: fc.constant("add" as const), key }),
      fc.record({ kind: fc.constant("later" as const), key, ms: fc.nat(300) }),
      fc.record({ kind: fc.constantFrom("done" as const, "retry" as const, "throw" as const), key }),
      fc.record({ kind: fc.constant("time" as const), ms: fc.nat(300) }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 1, max: 3 }),
        async (steps, workers) => {
          const { clock, queue, stop, started, working, ended, finish } = createBench({ workers });
          /** Keys that were added after their last start. */
          const owed = new Set<string>();
          let seen = 0;
          const look = async (): Promise<void> => {
            await settle();
            for (const id of started.slice(seen)) owed.delete(id);
            seen = started.length;
            expect(working.size).toBeLessThanOrEqual(workers);
          };
          for (const next of steps) {
            if (next.kind === "add") {
              queue.add(next.key);
              owed.add(next.key);
            } else if (next.kind === "later") queue.addAfter(next.key, next.ms);
            else if (next.kind === "time") await clock.advance(next.ms);
            else await finish(next.key, next.kind === "throw" ? new Error("x") : { kind: next.kind });
            await look();
          }
          while (working.size > 0) {
            for (const id of working.keys()) await finish(id);
            await look();
          }
          expect(owed).toEqual(new Set());
          stop.abort();
          await ended;
        },
      ),
      { numRuns: 60 },
    );
  });
});
