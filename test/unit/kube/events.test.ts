import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { ApiError, TransportError } from "../../../src/kube/api-error.ts";
import type { KubeClient, WritableObject } from "../../../src/kube/client.ts";
import { createEventRecorder, cutToBytes, type EventRecorder } from "../../../src/kube/events.ts";
import { createMetrics } from "../../../src/kube/metrics.ts";
import { ManualClock, settle } from "../../fakes/manual-clock.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";

const machine = (name = "web", uid = `uid-${name}`) => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "VirtualMachine",
  metadata: { name, namespace: "shop", uid },
});

/** The part of the API that takes events, which can be told to fail next. */
const createEventServer = () => {
  const stored = new Map<string, { body: WritableObject; count: number }>();
  const failures: Error[] = [];
  let writes = 0;
  const client = {
    create: async (_resource: unknown, body: WritableObject) => {
      writes += 1;
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      const series = body["series"] as { count: number } | undefined;
      stored.set(body.metadata.name, { body, count: series?.count ?? 1 });
    },
    mergePatch: async (
      _resource: unknown,
      { name }: { name: string },
      patch: { series: { count: number } },
    ) => {
      writes += 1;
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      const event = stored.get(name);
      if (event === undefined) throw new ApiError("patch", 404, { reason: "NotFound" });
      event.count = patch.series.count;
    },
  } as unknown as KubeClient;
  return { stored, failures, client, writes: () => writes };
};

let clock: ManualClock;
let server: ReturnType<typeof createEventServer>;
let recorder: EventRecorder;
let stop: AbortController;
const logger = createRecordingLogger();
const metrics = createMetrics();

beforeEach(() => {
  clock = new ManualClock();
  server = createEventServer();
  stop = new AbortController();
  logger.lines.length = 0;
  metrics.registry.resetMetrics();
  recorder = createEventRecorder({
    client: server.client,
    component: "vireo.dev/controller",
    instance: "vireo-0",
    logger,
    metrics,
    clock,
    random: () => 0,
    signal: stop.signal,
  });
});
afterEach(() => stop.abort());

const counts = (): number[] => [...server.stored.values()].map(({ count }) => count);

describe("createEventRecorder", () => {
  test("an event says who, about what, why and when, as events.k8s.io/v1 wants it", async () => {
    recorder.event(machine(), "Normal", "Scheduled", "to node-1");
    await settle();
    expect([...server.stored.values()].map(({ body }) => body)).toEqual([
      {
        metadata: { name: expect.stringMatching(/^web\.[0-9a-f]{16}$/u), namespace: "shop" },
        eventTime: "2026-01-01T00:00:00.000000Z",
        reportingController: "vireo.dev/controller",
        reportingInstance: "vireo-0",
        action: "Scheduled",
        reason: "Scheduled",
        type: "Normal",
        note: "to node-1",
        regarding: {
          apiVersion: "vireo.dev/v1alpha1",
          kind: "VirtualMachine",
          name: "web",
          namespace: "shop",
          uid: "uid-web",
        },
      },
    ]);
  });

  test("events about cluster-scoped objects live in the namespace default", async () => {
    const { apiVersion } = machine();
    recorder.event({ apiVersion, kind: "Flavor", metadata: { name: "tiny", uid: "f" } }, "Normal", "A", "b");
    await settle();
    expect([...server.stored.values()][0]?.body.metadata.namespace).toBe("default");
  });

  test("the same said many times is one event with a count, and few writes", async () => {
    for (let round = 0; round < 300; round += 1) {
      recorder.event(machine(), "Warning", "NoNode", "no node fits");
      await clock.advance(100);
    }
    await clock.advance(10_000);
    expect(counts()).toEqual([300]);
    expect(server.writes()).toBeLessThanOrEqual(5);
  });

  test("another message, reason or object is another event", async () => {
    recorder.event(machine(), "Normal", "A", "x");
    recorder.event(machine(), "Normal", "A", "y");
    recorder.event(machine(), "Normal", "B", "x");
    recorder.event(machine("db"), "Normal", "A", "x");
    await settle();
    expect(counts()).toEqual([1, 1, 1, 1]);
  });

  test("said again after a long silence it is news", async () => {
    recorder.event(machine(), "Normal", "A", "x");
    await clock.advance(7 * 60_000);
    recorder.event(machine(), "Normal", "A", "x");
    await settle();
    expect(counts()).toEqual([1, 1]);
  });

  test("an object that says too much is cut off for a while, and no other is", async () => {
    for (let round = 0; round < 40; round += 1) recorder.event(machine(), "Normal", "A", `number ${round}`);
    recorder.event(machine("db"), "Normal", "A", "x");
    await settle();
    expect(server.stored.size).toBe(26);
    await clock.advance(60_000);
    recorder.event(machine(), "Normal", "A", "later");
    recorder.event(machine(), "Normal", "A", "too much again");
    await settle();
    expect(server.stored.size).toBe(27);
    expect((await metrics.events.get()).values).toContainEqual({ labels: { result: "dropped" }, value: 16 });
  });

  test("what cannot be sent now is sent later, in order", async () => {
    server.failures.push(new TransportError("x", "refused"), new ApiError("x", 503, {}));
    recorder.event(machine(), "Normal", "A", "first");
    recorder.event(machine(), "Normal", "B", "second");
    await clock.advance(5000);
    expect([...server.stored.values()].map(({ body }) => body["note"])).toEqual(["first", "second"]);
  });

  test.each([
    ["a refusal", [new ApiError("x", 403, { reason: "Forbidden" })]],
    ["an outage", [1, 2, 3, 4].map(() => new TransportError("x", "refused"))],
  ])("what cannot be sent at all is dropped with a line in the log: %s", async (_sentence, failures) => {
    server.failures.push(...failures);
    recorder.event(machine(), "Normal", "A", "lost");
    recorder.event(machine(), "Normal", "B", "kept");
    await clock.advance(60_000);
    expect([...server.stored.values()].map(({ body }) => body["note"])).toEqual(["kept"]);
    expect(logger.lines.map(({ level, message }) => [level, message])).toEqual([["warn", "event dropped"]]);
  });

  test("an event that was made although its answer was lost is not made twice", async () => {
    server.failures.push(
      new TransportError("x", "reset"),
      new ApiError("x", 409, { reason: "AlreadyExists" }),
    );
    recorder.event(machine(), "Normal", "A", "x");
    await clock.advance(5000);
    expect([server.writes(), logger.lines]).toEqual([2, []]);
  });

  test("an event that the server forgot is made anew, with its count", async () => {
    recorder.event(machine(), "Normal", "A", "x");
    await settle();
    server.stored.clear();
    recorder.event(machine(), "Normal", "A", "x");
    await clock.advance(10_000);
    expect(counts()).toEqual([2]);
  });

  test("flush sends what waits for its turn", async () => {
    recorder.event(machine(), "Normal", "A", "x");
    await settle();
    recorder.event(machine(), "Normal", "A", "x");
    await recorder.flush(stop.signal);
    expect(counts()).toEqual([2]);
  });

  test("a server that is away costs a bounded amount of memory", async () => {
    server.failures.push(...Array.from({ length: 5000 }, () => new TransportError("x", "refused")));
    for (let index = 0; index < 3000; index += 1) recorder.event(machine(`vm-${index}`), "Normal", "A", "x");
    expect((await metrics.events.get()).values).toContainEqual({
      labels: { result: "dropped" },
      value: 1999,
    });
  });

  test("names and notes fit, whatever the object is called and the message says", async () => {
    recorder.event(machine("a".repeat(253)), "Normal", "R".repeat(200), "ü".repeat(2000));
    recorder.event(machine(`${"b".repeat(229)}.c`), "Normal", "A", "x");
    await settle();
    for (const { body } of server.stored.values()) {
      expect(body.metadata.name.length).toBeLessThanOrEqual(253);
      expect(body.metadata.name).toMatch(/^[a-z0-9]+(\.[a-z0-9]+)*$/u);
      expect(Buffer.byteLength(String(body["note"]))).toBeLessThanOrEqual(1024);
      expect(String(body["reason"]).length).toBeLessThanOrEqual(128);
    }
  });
});

describe("cutToBytes", () => {
  test.each([
    ["what fits stays", "abc", 3, "abc"],
    ["what does not is cut, and says so", "abcdefgh", 6, "abc…"],
    ["a character is not cut in two", "aüüü", 6, "aü…"],
    ["nor is a pair of surrogates", "😀😀", 7, "😀…"],
  ])("%s", (_sentence, text, bytes, expected) => expect(cutToBytes(text, bytes)).toBe(expected));
});
