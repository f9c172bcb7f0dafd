import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { KubeClient } from "../../../src/kube/client.ts";
import { LeadershipLostError, fenceWrites, runLeaderElection } from "../../../src/kube/leader-election.ts";
import {
  ElectionProcess,
  LeaseServer,
  connect,
  createElectionWorld,
  fairWeather as fair,
  times,
  type Weather,
} from "../../fakes/election-world.ts";
import { ManualClock } from "../../fakes/manual-clock.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";

describe("runLeaderElection", () => {
  test("one of many leads, and goes on leading", async () => {
    const { world, server, metrics, join, leaders, close } = createElectionWorld();
    for (const identity of ["a", "b", "c"]) join(identity);
    await world.advance(120_000);
    expect(leaders()).toHaveLength(1);
    expect(server.lease?.spec).toMatchObject({
      holderIdentity: leaders()[0],
      leaseTransitions: 0,
      leaseDurationSeconds: 15,
    });
    expect(await metrics.registry.metrics()).toContain('vireo_leader{lease="vireo"} 1');
    await close();
  });

  test("a graceful end hands over within a retry period, after the work has ended", async () => {
    const { world, join, leaders, close } = createElectionWorld();
    const first = join("a", { windDownMs: 12_000 });
    await world.advance(1000);
    const second = join("b");
    await world.advance(1000);
    first.stop.abort();
    await world.advance(11_000);
    // The lease is renewed while the work winds down, so nobody takes it.
    expect(second.terms).toEqual([]);
    await world.advance(4000);
    expect(leaders()).toEqual(["b"]);
    expect(first.terms[0]?.to).toBeLessThan(second.terms[0]?.from ?? 0);
    await close();
  });

  test("a graceful end in the middle of a renewal hands over too", async () => {
    const { world, server, join, leaders, close } = createElectionWorld();
    let weather = fair;
    const first = join("a", { weather: () => weather });
    await world.advance(1000);
    join("b");
    weather = { thereMs: 5, backMs: 1000, outcome: "arrives" };
    const { writes } = server;
    while (server.writes === writes) await world.advance(1);
    weather = fair;
    first.stop.abort();
    await world.advance(3000);
    expect(leaders()).toEqual(["b"]);
    await close();
  });

  test("a leader that dies is followed after the lease has run out, whatever the clocks of the hosts say", async () => {
    const { world, join, leaders, close } = createElectionWorld();
    const first = join("a", { skewMs: 3_600_000 });
    await world.advance(1000);
    const second = join("b", { skewMs: -3_600_000 });
    await world.advance(9000);
    first.freeze(3_600_000);
    const diedAt = world.monotonic();
    await world.advance(12_000);
    expect(second.terms).toEqual([]);
    await world.advance(8_000);
    expect(leaders()).toEqual(["b"]);
    expect((second.terms[0]?.from ?? 0) - diedAt).toBeGreaterThan(
      times.leaseDurationMs - times.retryPeriodMs,
    );
    first.freeze(-1);
    await world.advance(3_600_000);
    await close();
  });

  test("a leader that cannot reach the server stops before the lease can be taken, and says why", async () => {
    const { world, logger, join, leaders, close } = createElectionWorld();
    let weather = fair;
    const first = join("a", { weather: () => weather });
    await world.advance(10_000);
    weather = { thereMs: 5, backMs: 5, outcome: "request-lost" };
    await world.advance(times.renewDeadlineMs + 100);
    expect([leaders(), first.leadership, first.terms[0]?.to]).toEqual([[], undefined, expect.any(Number)]);
    expect(logger.lines).toContainEqual(
      expect.objectContaining({
        message: "stopped leading",
        fields: expect.objectContaining({ lost: true }),
      }),
    );
    weather = fair;
    await world.advance(10_000);
    expect(leaders()).toEqual(["a"]);
    await close();
  });

  test("requests that hang do not keep a leader in office", async () => {
    const { world, join, leaders, close } = createElectionWorld();
    let weather = fair;
    join("a", { weather: () => weather });
    await world.advance(10_000);
    weather = { thereMs: 3_600_000, backMs: 0, outcome: "arrives" };
    await world.advance(times.renewDeadlineMs);
    expect(leaders()).toEqual([]);
    weather = fair;
    await close();
  });

  test("the term counts from when the renewal was sent: a slow answer does not lengthen it", async () => {
    const { world, join, leaders, close } = createElectionWorld();
    let weather = fair;
    const first = join("a", { weather: () => weather });
    await world.advance(10);
    weather = { thereMs: 0, backMs: 4000, outcome: "arrives" };
    await world.advance(2010);
    weather = { ...fair, outcome: "request-lost" };
    // Sent at 2,010 ms, answered at 6,010 ms.
    await world.advance(9_970);
    expect(leaders()).toEqual(["a"]);
    await world.advance(40);
    expect(leaders()).toEqual([]);
    expect(first.terms[0]?.to).toBe(12_020);
    weather = fair;
    await close();
  });

  test("a renewal whose answer was lost is found to be our own", async () => {
    const { world, join, leaders, close } = createElectionWorld();
    let weather = fair;
    const first = join("a", { weather: () => weather });
    await world.advance(3000);
    weather = { ...fair, outcome: "answer-lost" };
    await world.advance(2000);
    weather = fair;
    await world.advance(30_000);
    expect(leaders()).toEqual(["a"]);
    expect(first.terms).toHaveLength(1);
    await close();
  });

  test("a frozen leader that thaws knows at once that its time is over", async () => {
    const { world, join, leaders, close } = createElectionWorld();
    const first = join("a");
    await world.advance(10_000);
    join("b");
    const before = first.leadership;
    first.freeze(60_000);
    await world.advance(59_999);
    expect(leaders()).toEqual(["b"]);
    expect(before?.signal.aborted).toBe(false);
    const written: string[] = [];
    const client = { create: async () => void written.push("x") } as unknown as KubeClient;
    const fenced = before === undefined ? client : fenceWrites(client, before);
    const { signal } = new AbortController();
    await expect(fenced.create({} as never, { metadata: { name: "x" } }, { signal })).rejects.toThrow(
      LeadershipLostError,
    );
    await world.advance(2);
    expect([before?.signal.aborted, written, leaders()]).toEqual([true, [], ["b"]]);
    await close();
  });

  test("a lease that somebody deleted is lost", async () => {
    const { world, server, join, close } = createElectionWorld();
    const first = join("a");
    await world.advance(10_000);
    server.lease = undefined;
    await world.advance(10_000);
    expect(first.terms).toHaveLength(2);
    await close();
  });

  test("work that fails gives the lease back and rejects", async () => {
    const server = new LeaseServer();
    const world = new ManualClock();
    const process = new ElectionProcess(world, "a", 0);
    const ended = runLeaderElection({
      client: connect(world, server, process, () => fair),
      namespace: "vireo",
      leaseName: "vireo",
      identity: "a",
      logger: createRecordingLogger(),
      clock: process,
      signal: process.stop.signal,
      onStartedLeading: () => Promise.reject(new Error("broken")),
    });
    const verdict = ended.catch((error: unknown) => error);
    await world.advance(1000);
    expect(await verdict).toEqual(new Error("broken"));
    expect(server.lease?.spec.holderIdentity).toBe("");
  });

  test("times that cannot work are refused", async () => {
    const process = new ElectionProcess(new ManualClock(), "a", 0);
    const options = {
      namespace: "n",
      leaseName: "l",
      identity: "a",
      logger: createRecordingLogger(),
      signal: process.stop.signal,
    };
    const client = connect(new ManualClock(), new LeaseServer(), process, () => fair);
    const run = runLeaderElection({
      ...options,
      client,
      leaseDurationMs: 5000,
      onStartedLeading: async () => {},
    });
    await expect(run).rejects.toThrow("leaseDurationMs (5000) must exceed renewDeadlineMs (10000)");
  });

  test("whatever the network does and whoever freezes: never two at once, and in fair weather always one", async () => {
    const weather: fc.Arbitrary<Weather> = fc.record({
      thereMs: fc.oneof(fc.nat(50), fc.nat(50), fc.nat(4000)),
      backMs: fc.oneof(fc.nat(50), fc.nat(50), fc.nat(4000)),
      outcome: fc.oneof(
        { weight: 8, arbitrary: fc.constant("arrives" as const) },
        { weight: 1, arbitrary: fc.constantFrom("request-lost" as const, "answer-lost" as const) },
      ),
    });
    const mishap = fc.record({
      at: fc.nat(120_000),
      who: fc.nat(2),
      kind: fc.constantFrom("frozen", "cut-off"),
      ms: fc.integer({ min: 1, max: 30_000 }),
    });
    // One second between the two times: the rule must hold without a comfortable margin.
    const timing = { ...times, leaseDurationMs: 11_000 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(weather, { minLength: 10, maxLength: 60 }),
        fc.array(mishap, { minLength: 3, maxLength: 10 }),
        fc.array(fc.integer({ min: -60_000, max: 60_000 }), { minLength: 3, maxLength: 3 }),
        async (forecast, mishaps, skews) => {
          const { world, join, leaders, close } = createElectionWorld(timing);
          let used = 0;
          let isStormy = true;
          const cutOffUntil = [0, 0, 0];
          const forecastFor = (index: number) => (): Weather => {
            const next = isStormy ? (forecast[(used += 1) % forecast.length] ?? fair) : fair;
            const isCutOff = world.monotonic() < (cutOffUntil[index] ?? 0);
            return isCutOff ? { ...next, outcome: "request-lost" } : next;
          };
          const processes = skews.map((skewMs, index) =>
            join(String(index), { weather: forecastFor(index), skewMs }),
          );
          for (const { at, who, kind, ms } of mishaps)
            world.after(at, () => {
              if (kind === "frozen") processes[who]?.freeze(ms);
              else cutOffUntil[who] = world.monotonic() + ms;
            });
          for (let time = 0; time < 180_000; time += 250) {
            await world.advance(250);
            expect(leaders().length).toBeLessThanOrEqual(1);
            const working = processes.filter(
              ({ leadership, isFrozen }) => leadership !== undefined && !isFrozen,
            );
            expect(working.length).toBeLessThanOrEqual(1);
          }
          isStormy = false;
          await world.advance(60_000);
          expect(leaders()).toHaveLength(1);
          await close();
        },
      ),
      // A run is three minutes of three processes: shrinking would take longer than reading.
      { numRuns: 25, endOnFailure: true },
    );
  });
});
