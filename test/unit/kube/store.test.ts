import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { createKubeClient, type KubeClient } from "../../../src/kube/client.ts";
import type { Change } from "../../../src/kube/object-cache.ts";
import { createStore, type Store, type StoreOptions } from "../../../src/kube/store.ts";
import { FakeKubeApiServer, type Fault } from "../../fakes/kube-api-server.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";
import { widgets, type Widget } from "../../fakes/widgets.ts";
import { waitFor } from "../../testbed/wait.ts";

const collection = "test.vireo.dev/v1/widgets";
const at = (name: string, namespace = "shop") => ({ collection, namespace, name });
const key = (name: string, namespace = "shop") => ({ namespace, name });
const quick = { backoff: { initialMs: 2, maxMs: 20 }, idleTimeoutMs: 10_000, initialTimeoutMs: 10_000 };

let server: FakeKubeApiServer;
let client: KubeClient;
let stop: AbortController;
let running: Promise<unknown>[];
const logger = createRecordingLogger();

beforeEach(async () => {
  server = new FakeKubeApiServer();
  await server.start();
  client = createKubeClient({ kubeConfig: server.kubeConfig(), requestTimeoutMs: 1_000 });
  stop = new AbortController();
  running = [];
  logger.lines.length = 0;
});
afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  await client.close();
  await server.stop();
});

const put = (name: string, size: number, namespace = "shop"): void => {
  const body = { metadata: {}, spec: { size } };
  server.objects.apply(at(name, namespace), body, undefined, { manager: "test", force: true });
};
const bind = (name: string, node: string): unknown =>
  server.objects.apply(at(name), { status: { node } }, "status", { manager: "c", force: true });
const spoil = (name: string): unknown =>
  server.objects.apply(at(name), { spec: { color: "plaid" } }, undefined, {
    manager: "other",
    force: true,
  });
const remove = (name: string): void => void server.objects.delete(at(name), {});

const startStore = (options: Partial<StoreOptions<Widget>> = {}): Store<Widget> => {
  const store = createStore({ client, resource: widgets, logger, timings: quick, ...options });
  running.push(store.run(stop.signal));
  return store;
};
const startSynced = async (options: Partial<StoreOptions<Widget>> = {}): Promise<Store<Widget>> => {
  const store = startStore(options);
  await store.whenSynced(stop.signal);
  return store;
};

/** "name=size@version" of everything, as the server and as the store have it. */
const onServer = (): string[] =>
  server.objects
    .list(collection, undefined)
    .map(
      ({ metadata, spec }) =>
        `${metadata.name}=${(spec as { size: number }).size}@${metadata.resourceVersion}`,
    )
    .sort();
const inStore = (store: Store<Widget>): string[] =>
  store
    .list()
    .map(({ metadata, spec }) => `${metadata.name}=${spec?.size}@${metadata.resourceVersion}`)
    .sort();

/** Awaits that the store has all that the server has. */
const whenEqual = (store: Store<Widget>): Promise<unknown> =>
  waitFor(
    "store equals server",
    () => {
      if (inStore(store).join() === onServer().join()) return true;
      throw new Error(`server ${onServer().join()} store ${inStore(store).join()}`);
    },
    { intervalMs: 2, timeoutMs: 10_000 },
  );

describe("createStore", () => {
  test("is not in sync before everything was read, and then has it", async () => {
    put("a", 1);
    server.failNext("watch", { kind: "silent" });
    const store = startStore({ timings: { ...quick, initialTimeoutMs: 200 } });
    await waitFor("the first watch", () => server.requests.length > 0, { intervalMs: 2 });
    expect([store.synced, store.get(key("a")), store.list()]).toEqual([false, undefined, []]);
    await store.whenSynced(stop.signal);
    expect(store.get(key("a"))).toMatchObject({ spec: { size: 1 } });
  });

  test.each([[true], [false]])("reads all and follows changes, with watch-list: %s", async (watchList) => {
    server.watchList = watchList;
    for (let index = 0; index < 7; index += 1) put(`w-${index}`, index);
    const store = await startSynced();
    put("w-0", 100);
    put("new", 1);
    remove("w-1");
    await whenEqual(store);
    expect(server.requests.some(({ verb }) => verb === "list")).toBe(!watchList);
  });

  test("changes tell what was before and what is now", async () => {
    put("a", 1);
    const store = startStore();
    const changes: Change<Widget>[] = [];
    const unsubscribe = store.onChange((change) => void changes.push(change));
    await store.whenSynced(stop.signal);
    put("a", 2);
    await whenEqual(store);
    remove("a");
    await whenEqual(store);
    unsubscribe();
    put("b", 1);
    await whenEqual(store);
    expect(changes.map(({ before, after }) => [before?.spec?.size, after?.spec?.size])).toEqual([
      [undefined, 1],
      [1, 2],
      [2, undefined],
    ]);
  });

  test("a listener that throws costs nobody else a change", async () => {
    const store = startStore();
    const heard: string[] = [];
    store.onChange(() => {
      throw new Error("broken listener");
    });
    store.onChange((change) => void heard.push(change.key.name));
    put("a", 1);
    await whenEqual(store);
    expect(heard).toEqual(["a"]);
    expect(logger.lines).toContainEqual(
      expect.objectContaining({ level: "error", message: expect.stringContaining("listener") }),
    );
  });

  test("objects are frozen and without managedFields", async () => {
    put("a", 1);
    const store = await startSynced();
    const object = store.get(key("a"));
    expect(Object.isFrozen(object?.metadata)).toBe(true);
    expect(object?.metadata).not.toHaveProperty("managedFields");
  });

  test("an object that leaves the selection leaves the store, and one that enters it comes", async () => {
    put("a", 1);
    put("b", 1);
    const store = await startSynced({ fieldSelector: "status.node=node-1" });
    bind("a", "node-1");
    await waitFor("a to come", () => store.get(key("a")) !== undefined, { intervalMs: 2 });
    bind("a", "node-2");
    bind("b", "node-1");
    await waitFor("b to come", () => store.get(key("b")) !== undefined, { intervalMs: 2 });
    expect(store.get(key("a"))).toBeUndefined();
  });

  test("only the chosen namespace is read", async () => {
    put("a", 1, "shop");
    put("b", 1, "other");
    const store = await startSynced({ namespace: "other" });
    expect(inStore(store)).toEqual([expect.stringContaining("b=1")]);
  });

  test("whenSeen resolves once the store has the version of a write, and at once if it has", async () => {
    const store = await startSynced();
    const written = await client.create(widgets, { metadata: key("a") }, { signal: stop.signal });
    await store.whenSeen(written.metadata.resourceVersion, stop.signal);
    expect(store.get(key("a"))).toBeDefined();
    await store.whenSeen(written.metadata.resourceVersion, stop.signal);
  });

  test("whenSeen of a version beyond the objects is answered by a bookmark", async () => {
    const store = await startSynced();
    server.objects.create({ collection: "v1/configmaps", namespace: "shop", name: "other-kind" }, {}, "test");
    const seen = store.whenSeen(String(server.objects.resourceVersion), stop.signal);
    server.sendBookmarks();
    await seen;
    expect(store.list()).toEqual([]);
  });

  test("waiting ends with the waiter's signal", async () => {
    server.failNext("watch", { kind: "hang" });
    const store = startStore();
    const waiter = new AbortController();
    const waiting = store.whenSynced(waiter.signal);
    waiter.abort(new Error("no patience"));
    await expect(waiting).rejects.toThrow("no patience");
  });
});

describe("a store whose server misbehaves", () => {
  const faults: [string, Fault][] = [
    ["500", { kind: "status", status: 500 }],
    ["410", { kind: "status", status: 410 }],
    ["403, until somebody grants it", { kind: "status", status: 403 }],
    ["429", { kind: "status", status: 429 }],
    ["an ERROR event 410", { kind: "error-event", status: 410 }],
    ["an ERROR event 500", { kind: "error-event", status: 500 }],
    ["garbage", { kind: "garbage" }],
    ["half a line", { kind: "half-line" }],
    ["nothing, and the end", { kind: "empty" }],
    ["a broken connection", { kind: "drop" }],
    ["silence after the headers", { kind: "silent" }],
    ["silence before the headers", { kind: "hang" }],
  ];
  const timings = { ...quick, idleTimeoutMs: 100, initialTimeoutMs: 100 };

  test.each(faults)("goes on after the first watch is answered with %s", async (_name, fault) => {
    put("a", 1);
    server.failNext("watch", fault);
    const store = await startSynced({ timings });
    put("b", 2);
    await whenEqual(store);
    expect(server.pendingFaults).toBe(0);
  });

  test.each(faults)("loses nothing when re-watching is answered with %s", async (_name, fault) => {
    put("a", 1);
    put("b", 1);
    const store = await startSynced({ timings });
    server.failNext("watch", fault);
    server.failNext("watch", fault);
    server.dropConnections();
    remove("a");
    put("b", 2);
    put("c", 3);
    await expect(whenEqual(store)).resolves.toBe(true);
  });

  test.each(faults)("syncs although LIST is answered with %s", async (_name, fault) => {
    server.watchList = false;
    put("a", 1);
    server.failNext("list", fault);
    await expect(whenEqual(await startSynced({ timings }))).resolves.toBe(true);
  });

  test("garbage in the middle of a watch does not lose what comes after it", async () => {
    const store = await startSynced();
    server.writeToWatches('{"type":"ADDED","object":{"me');
    put("a", 1);
    await whenEqual(store);
    expect(logger.lines).toContainEqual(expect.objectContaining({ level: "warn" }));
  });

  test("when the history is gone, a relist finds what was deleted meanwhile, and tells it", async () => {
    put("a", 1);
    put("b", 1);
    const store = await startSynced();
    const removed: string[] = [];
    store.onChange(({ key: { name }, after }) => void (after === undefined && removed.push(name)));
    await server.stop();
    remove("a");
    put("c", 1);
    server.compact();
    await server.start();
    await whenEqual(store);
    expect(removed).toEqual(["a"]);
  });

  test("an object that was deleted and made anew while we were away is one change with two uids", async () => {
    put("a", 1);
    const store = await startSynced();
    const uids: (string | undefined)[][] = [];
    store.onChange(({ before, after }) => void uids.push([before?.metadata.uid, after?.metadata.uid]));
    await server.stop();
    remove("a");
    put("a", 1);
    server.compact();
    await server.start();
    await whenEqual(store);
    expect(uids).toHaveLength(1);
    expect(uids[0]?.[0]).not.toBe(uids[0]?.[1]);
  });

  test("a watch that ends as watches do is taken up at once, without a list", async () => {
    put("a", 1);
    const store = await startSynced();
    put("b", 1);
    await whenEqual(store);
    const before = server.requests.length;
    server.endWatches();
    put("c", 1);
    await whenEqual(store);
    expect(
      server.requests.slice(before).map(({ verb, query }) => [verb, query.has("sendInitialEvents")]),
    ).toEqual([["watch", false]]);
    expect(logger.lines).toEqual([]);
  });

  test("three watches in a row that fail lead to a fresh list", async () => {
    const store = await startSynced();
    put("a", 1);
    await whenEqual(store);
    for (let tries = 0; tries < 3; tries += 1) server.failNext("watch", { kind: "status", status: 500 });
    server.dropConnections();
    await waitFor(
      "a fresh list",
      () => server.requests.filter(({ query }) => query.has("sendInitialEvents")).length === 2,
      { intervalMs: 2 },
    );
    put("b", 1);
    await expect(whenEqual(store)).resolves.toBe(true);
  });

  test("a server that asks for a pause gets it", async () => {
    const store = await startSynced();
    server.failNext("watch", { kind: "status", status: 429, retryAfterSeconds: 1 });
    server.dropConnections();
    await waitFor(
      "the warning",
      () => logger.lines.some(({ fields }) => Number(fields["retryInMs"]) >= 1000),
      { intervalMs: 2 },
    );
    put("a", 1);
    await expect(whenEqual(store)).resolves.toBe(true);
  });

  test("a long life gathers no listeners on the signal", async () => {
    const store = await startSynced();
    const before = getEventListeners(stop.signal, "abort").length;
    for (let round = 0; round < 20; round += 1) {
      if (round % 2 === 0) server.dropConnections();
      else server.endWatches();
      put("a", round);
      await whenEqual(store);
    }
    expect(getEventListeners(stop.signal, "abort").length).toBeLessThanOrEqual(before + 1);
  });

  test("stopping returns while the server does not answer", async () => {
    server.failNext("watch", { kind: "hang" });
    startStore();
    await waitFor("the request", () => server.requests.length > 0, { intervalMs: 2 });
    stop.abort();
    await expect(Promise.all(running)).resolves.toBeDefined();
  });
});

describe("a store with an object that does not fit its schema", () => {
  test("keeps going, and says so once per version", async () => {
    put("a", 1);
    const store = await startSynced();
    spoil("a");
    put("b", 1);
    await waitFor("b", () => store.get(key("b")), { intervalMs: 2 });
    server.compact();
    server.dropConnections();
    put("c", 1);
    await waitFor("c", () => store.get(key("c")), { intervalMs: 2 });
    expect(store.unreadable().map((object) => object.key.name)).toEqual(["a"]);
    expect(() => store.get(key("a"))).toThrow("spec.color");
    const errors = logger.lines.filter(({ level }) => level === "error");
    expect(errors).toEqual([expect.objectContaining({ fields: { object: "shop/a", kind: "Widget" } })]);
  });

  test("is in sync although it was there from the beginning", async () => {
    spoil("a");
    put("b", 1);
    const store = await startSynced();
    expect([store.list().length, store.unreadable().length]).toEqual([1, 1]);
  });
});

describe("convergence", () => {
  const name = fc.constantFrom("a", "b", "c", "d", "e");
  const fault: fc.Arbitrary<Fault> = fc.constantFrom(
    { kind: "status", status: 500 },
    { kind: "status", status: 410 },
    { kind: "error-event", status: 410 },
    { kind: "garbage" },
    { kind: "half-line" },
    { kind: "empty" },
    { kind: "drop" },
  );
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("put" as const), name, size: fc.nat(1000) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), name }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom("drop", "compact", "restart", "end", "garble", "pause") }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("fail-watch", "fail-list"), fault }) },
  );
  type Step = { kind: string; name?: string; size?: number; fault?: Fault };

  const perform = async (next: Step): Promise<void> => {
    if (next.kind === "put") put(next.name ?? "", next.size ?? 0);
    else if (next.kind === "remove") {
      if (server.objects.list(collection, undefined).some(({ metadata }) => metadata.name === next.name))
        remove(next.name ?? "");
    } else if (next.kind === "drop") server.dropConnections();
    else if (next.kind === "compact") server.compact();
    else if (next.kind === "end") server.endWatches();
    else if (next.kind === "garble") server.writeToWatches("%\n");
    else if (next.kind === "restart") {
      await server.stop();
      await server.start();
    } else if (next.fault !== undefined)
      server.failNext(next.kind === "fail-list" ? "list" : "watch", next.fault);
    else await new Promise(setImmediate);
  };

  test("whatever is written and whatever breaks, the store ends equal to the server, and so does who listened", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (steps, watchList) => {
        server.watchList = watchList;
        const run = new AbortController();
        const store = createStore({ client, resource: widgets, logger, timings: quick });
        const heard = new Map<string, number | undefined>();
        store.onChange(({ key: { name: id }, after }) => {
          if (after === undefined) heard.delete(id);
          else heard.set(id, after.spec?.size);
        });
        const ended = store.run(run.signal);
        for (const next of steps) await perform(next);
        put("last", steps.length);
        await whenEqual(store);
        expect(heard).toEqual(
          new Map(store.list().map((object) => [object.metadata.name, object.spec?.size])),
        );
        run.abort();
        await ended;
        server.clearFaults();
      }),
      { numRuns: 40, endOnFailure: true },
    );
  });
});
