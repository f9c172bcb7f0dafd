import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { ApiError } from "../../../src/kube/api-error.ts";
import {
  createController,
  done,
  isMoreThanStatus,
  requeueAfter,
  type Controller,
  type Reconcile,
} from "../../../src/kube/controller.ts";
import { createMetrics } from "../../../src/kube/metrics.ts";
import { ObjectCache, type Change } from "../../../src/kube/object-cache.ts";
import { decodeObject } from "../../../src/kube/object-codec.ts";
import { formatKey, type ObjectKey } from "../../../src/kube/object-key.ts";
import { StalledError, WaitingError } from "../../../src/kube/reconcile-error.ts";
import type { Store } from "../../../src/kube/store.ts";
import { ManualClock, settle } from "../../fakes/manual-clock.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";
import { widgets, type Widget } from "../../fakes/widgets.ts";

const key = (name: string): ObjectKey => ({ namespace: "shop", name });

/** A store that the test fills by hand. */
const createHandFedStore = (): Store<Widget> & { put(name: string, spec?: object): void; sync(): void } => {
  const cache = new ObjectCache<Widget>({ decode: (raw) => decodeObject(widgets, raw), indexes: {} });
  const listeners = new Set<(change: Change<Widget>) => void>();
  const { promise, resolve } = Promise.withResolvers<void>();
  let version = 0;
  return {
    run: async () => {},
    synced: true,
    whenSynced: () => promise,
    whenSeen: async () => {},
    get: (of) => cache.get(of),
    list: () => cache.list(),
    byIndex: () => [],
    unreadable: () => cache.unreadable(),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    sync: resolve,
    put: (name, spec = {}) => {
      version += 1;
      const metadata = {
        ...key(name),
        uid: name,
        resourceVersion: String(version),
        creationTimestamp: "t",
        generation: 1,
      };
      const change = cache.upsert({ metadata, spec });
      if (change !== undefined) for (const listener of listeners) listener(change);
    },
  };
};

let clock: ManualClock;
let stop: AbortController;
let ended: Promise<void>;
let store: ReturnType<typeof createHandFedStore>;
let calls: string[];
const logger = createRecordingLogger();
const metrics = createMetrics();

beforeEach(() => {
  clock = new ManualClock();
  stop = new AbortController();
  store = createHandFedStore();
  calls = [];
  ended = Promise.resolve();
  logger.lines.length = 0;
  metrics.registry.resetMetrics();
});
afterEach(async () => {
  stop.abort();
  await ended;
});

const start = (
  reconcile: Reconcile,
  extra: Partial<Parameters<typeof createController<[Widget]>>[0]> = {},
): Controller => {
  const controller = createController<[Widget]>({
    name: "widgets",
    watches: [{ store }],
    reconcile: (of, signal) => {
      calls.push(formatKey(of));
      return reconcile(of, signal);
    },
    backoff: { initialMs: 100, maxMs: 100 },
    logger,
    metrics,
    clock,
    random: () => 0,
    ...extra,
  });
  ended = controller.run(stop.signal);
  return controller;
};

const colours = ({ before, after }: Change<Widget>): ObjectKey[] =>
  [before, after].flatMap((object) =>
    object?.spec?.color === undefined ? [] : [{ name: object.spec.color }],
  );

describe("createController", () => {
  test("reconciles nothing before all its stores are in sync, and then everything once", async () => {
    const other = createHandFedStore();
    store.put("a");
    start(async () => done, { reads: [other] });
    store.put("b");
    store.put("b", { size: 2 });
    store.sync();
    await settle();
    expect(calls).toEqual([]);
    other.sync();
    await settle();
    expect(calls).toEqual(["shop/a", "shop/b"]);
  });

  test("a change brings the keys that it is mapped to", async () => {
    start(async () => done, { watches: [{ store, map: colours }] });
    store.sync();
    store.put("a", { color: "red" });
    await settle();
    store.put("a", { color: "blue" });
    await settle();
    expect(calls).toEqual(["red", "red", "blue"]);
  });

  test.each<[string, () => Promise<never>, number | undefined, string, string | undefined]>([
    [
      "a StalledError is not tried again",
      () => Promise.reject(new StalledError("BadSpec", "wrong")),
      undefined,
      "stalled",
      "warn",
    ],
    [
      "a WaitingError comes after its own delay",
      () => Promise.reject(new WaitingError(700, "NoImage", "wait")),
      700,
      "waiting",
      "debug",
    ],
    [
      "a conflict is tried again quietly",
      () => Promise.reject(new ApiError("x", 409, {})),
      50,
      "conflict",
      "debug",
    ],
    [
      "any other error is tried again after the back-off",
      () => Promise.reject(new Error("oops")),
      50,
      "error",
      "error",
    ],
    [
      "a server that asks for a pause gets it",
      () => Promise.reject(new ApiError("x", 429, { retryAfterMs: 3000 })),
      3000,
      "error",
      "error",
    ],
  ])("%s", async (_sentence, fail, delay, label, level) => {
    start(() => (calls.length === 1 ? fail() : Promise.resolve(done)));
    store.sync();
    store.put("a");
    await settle();
    await clock.advance((delay ?? 3_600_001) - 1);
    expect(calls).toHaveLength(1);
    await clock.advance(1);
    expect(calls).toHaveLength(delay === undefined ? 1 : 2);
    expect(logger.lines.map((line) => line.level)).toEqual([level]);
    expect(logger.lines[0]?.fields).toMatchObject({ object: "shop/a", controller: "widgets" });
    expect(await metrics.registry.metrics()).toContain(
      `vireo_reconcile_total{controller="widgets",result="${label}"} 1`,
    );
  });

  test("a stalled object is reconciled again when it changes", async () => {
    start(() => Promise.reject(new StalledError("BadSpec", "wrong")));
    store.sync();
    store.put("a");
    await settle();
    store.put("a", { size: 2 });
    await settle();
    expect(calls).toHaveLength(2);
  });

  test("an unreadable object stalls what asks for it, and is not taken for a deleted one", async () => {
    let takenForDeleted = false;
    start(async (of) => {
      takenForDeleted ||= store.get(of) === undefined;
      return done;
    });
    store.sync();
    store.put("a", { color: "plaid" });
    await settle();
    expect(logger.lines).toEqual([
      expect.objectContaining({ level: "warn", message: expect.stringContaining("stalled") }),
    ]);
    expect(takenForDeleted).toBe(false);
  });

  test("requeue-after looks again by itself", async () => {
    start(async () => (calls.length < 3 ? requeueAfter(1000) : done));
    store.sync();
    store.put("a");
    await clock.advance(10_000);
    expect(calls).toHaveLength(3);
  });

  test("others may ask for a reconcile, now and later", async () => {
    const controller = start(async () => done);
    store.sync();
    controller.enqueue(key("x"));
    controller.enqueueAfter(key("y"), 100);
    await clock.advance(100);
    expect(calls).toEqual(["shop/x", "shop/y"]);
  });

  test("an abort is seen by the reconcile, is waited for, and its error is not logged", async () => {
    start(
      (_of, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error));
        }),
    );
    store.sync();
    store.put("a");
    await settle();
    stop.abort();
    await ended;
    expect(logger.lines).toEqual([]);
  });
});

const object = (metadata: object, status?: Widget["status"]): Widget => ({
  apiVersion: "test.vireo.dev/v1",
  kind: "Widget",
  metadata: { name: "a", uid: "1", resourceVersion: "1", creationTimestamp: "t", generation: 1, ...metadata },
  status,
});

describe("isMoreThanStatus", () => {
  const before = object({});

  test.each<[string, Partial<Change<Widget>>, boolean]>([
    ["a new object", { after: before }, true],
    ["a deletion", { before }, true],
    ["another status", { before, after: object({ resourceVersion: "2" }, { phase: "x" }) }, false],
    ["another spec", { before, after: object({ generation: 2 }) }, true],
    ["the wish for deletion", { before, after: object({ deletionTimestamp: "t" }) }, true],
    ["another label", { before, after: object({ labels: { a: "b" } }) }, true],
    ["another object of the same name", { before, after: object({ uid: "2" }) }, true],
    [
      "a new version of a kind without generations",
      {
        before: object({ generation: undefined }),
        after: object({ generation: undefined, resourceVersion: "2" }),
      },
      true,
    ],
  ])("%s: %#", (_what, change, expected) => {
    expect(isMoreThanStatus({ key: key("a"), unreadable: false, ...change })).toBe(expected);
  });
});
