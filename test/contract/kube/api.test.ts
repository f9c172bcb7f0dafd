import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { ApiError } from "../../../src/kube/api-error.ts";
import { events, leases } from "../../../src/kube/builtin.ts";
import { createKubeClient, type KubeClient } from "../../../src/kube/client.ts";
import { createEventRecorder } from "../../../src/kube/events.ts";
import { renewLease } from "../../../src/kube/lease.ts";
import { silentLogger } from "../../../src/kube/logger.ts";
import { microTime } from "../../../src/kube/micro-time.ts";
import { createStore } from "../../../src/kube/store.ts";
import type { WatchEvent } from "../../../src/kube/watch-stream.ts";
import { configMaps, widgets } from "../../fakes/widgets.ts";
import { waitFor } from "../../testbed/wait.ts";
import { sites, type Site } from "./sites.ts";

const refusal = async (request: Promise<unknown>): Promise<string> => {
  const error = await request.catch((caught: unknown) => caught);
  return error instanceof ApiError ? `${error.status} ${error.reason}` : `no refusal: ${String(error)}`;
};

const condition = (type: string, status = "True") => ({ type, status, reason: "Test" });

const kinds = (seen: readonly WatchEvent[]): string[] =>
  seen.map((event) => event.kind).filter((kind) => kind !== "bookmark");

describe.each(sites)("%s", (_name, start) => {
  let site: Site;
  let client: KubeClient;
  let stop: AbortController;
  let signal: AbortSignal;
  /** Another name in each test, so that none meets the rest of another. */
  let name: string;

  beforeAll(async () => {
    site = await start();
    client = createKubeClient({ kubeConfig: site.kubeConfig });
  }, 180_000);
  afterAll(async () => {
    await client.close();
    await site.stop();
  }, 60_000);
  beforeEach(() => {
    stop = new AbortController();
    ({ signal } = stop);
    name = `w-${randomUUID().slice(0, 8)}`;
  });
  afterEach(() => stop.abort());

  const key = () => ({ namespace: "shop", name });
  const create = (spec: object = { size: 1 }, metadata: object = {}) =>
    client.create(widgets, { metadata: { ...metadata, ...key() }, spec }, { signal });
  const get = () => client.get(widgets, key(), { signal });
  const apply = (fieldManager: string, spec: object, force = false) =>
    client.apply(widgets, { metadata: key(), spec }, { fieldManager, force, signal });
  const applyStatus = (fieldManager: string, status: object, force = false) =>
    client.applyStatus(widgets, { metadata: key(), status }, { fieldManager, force, signal });

  const namesOf = async (options: object): Promise<string[]> =>
    (await client.list(widgets, { ...options, signal })).items.map(({ metadata }) => metadata.name);
  const watch = (options: object): { events: WatchEvent[]; ended: Promise<unknown> } => {
    const seen: WatchEvent[] = [];
    const run = async (): Promise<void> => {
      const all = { namespace: "shop", timeoutSeconds: 60, idleTimeoutMs: 60_000, signal };
      for await (const event of client.watch(widgets, { ...all, ...options })) seen.push(event);
    };
    return { events: seen, ended: run().catch((error: unknown) => error) };
  };

  describe("objects", () => {
    test("what is created can be read, and what is not there is undefined", async () => {
      expect(await get()).toBeUndefined();
      const created = await create();
      expect(created).toMatchObject({
        kind: "Widget",
        metadata: { ...key(), generation: 1 },
        spec: { size: 1 },
      });
      expect(await get()).toEqual(created);
      expect(Object.isFrozen(created.spec)).toBe(true);
      expect(created.metadata).not.toHaveProperty("managedFields");
    });

    test("creating it twice is a conflict", async () => {
      await create();
      expect(await refusal(create())).toBe("409 AlreadyExists");
    });

    test("deleting is done when it is gone, and when it never was", async () => {
      await client.delete(widgets, key(), { signal });
      await create();
      await client.delete(widgets, key(), { signal });
      expect(await get()).toBeUndefined();
    });

    test("deleting only this very object, in this very version", async () => {
      const { uid, resourceVersion } = (await create()).metadata;
      expect(await refusal(client.delete(widgets, key(), { signal, uid: randomUUID() }))).toBe(
        "409 Conflict",
      );
      await apply("other", { size: 2 }, true);
      expect(await refusal(client.delete(widgets, key(), { signal, uid, resourceVersion }))).toBe(
        "409 Conflict",
      );
      await client.delete(widgets, key(), { signal, uid });
      expect(await get()).toBeUndefined();
    });

    test("a finalizer keeps a deleted object until it is taken off", async () => {
      await create({}, { finalizers: ["vireo.dev/test"] });
      await client.delete(widgets, key(), { signal, propagationPolicy: "Background" });
      expect((await get())?.metadata.deletionTimestamp).toBeDefined();
      await client.mergePatch(widgets, key(), { metadata: { finalizers: null } }, { signal });
      expect(await get()).toBeUndefined();
    });

    test("a merge patch sets, removes, and keeps the rest", async () => {
      await create({ size: 1, color: "red" });
      const patched = await client.mergePatch(
        widgets,
        key(),
        { spec: { size: null, color: "blue" } },
        { signal },
      );
      expect(patched.spec).toEqual({ color: "blue" });
      expect(patched.metadata.generation).toBe(2);
    });

    test("a merge patch on a version that is over is a conflict", async () => {
      const { resourceVersion } = (await create()).metadata;
      const patch = { metadata: { resourceVersion }, spec: { size: 2 } };
      await client.mergePatch(widgets, key(), patch, { signal });
      expect(await refusal(client.mergePatch(widgets, key(), patch, { signal }))).toBe("409 Conflict");
    });

    test("a patch of what is not there is not found", async () => {
      expect(await refusal(client.mergePatch(widgets, key(), { spec: {} }, { signal }))).toBe("404 NotFound");
    });
  });

  describe("server-side apply", () => {
    test("creates, changes, and removes what its owner leaves out", async () => {
      await apply("a", { size: 1, color: "red" });
      expect((await apply("a", { size: 2 })).spec).toEqual({ size: 2 });
    });

    test("saying the same again changes nothing", async () => {
      const first = await apply("a", { size: 1 });
      expect((await apply("a", { size: 1 })).metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    });

    test("what another owns is a conflict, unless forced", async () => {
      await apply("a", { size: 1 });
      expect(await refusal(apply("b", { size: 2 }))).toBe("409 Conflict");
      expect((await apply("b", { size: 2 }, true)).spec).toEqual({ size: 2 });
      expect(await refusal(apply("a", { size: 1 }))).toBe("409 Conflict");
    });

    test("two owners that say the same share it: it goes when both have let go", async () => {
      await apply("a", { size: 1, color: "red" });
      await apply("b", { size: 1 });
      expect((await apply("a", { color: "red" })).spec).toEqual({ size: 1, color: "red" });
      expect((await apply("b", {})).spec).toEqual({ color: "red" });
    });

    test("a status has two writers with fields of their own, down to single conditions", async () => {
      await create();
      await applyStatus("controller", { node: "node-1", conditions: [condition("Scheduled")] });
      await applyStatus("agent", { phase: "Running", conditions: [condition("Ready")] });
      const after = await applyStatus("controller", {
        node: "node-1",
        conditions: [condition("Scheduled", "False")],
      });
      expect(after.status).toMatchObject({ node: "node-1", phase: "Running" });
      expect(after.status?.conditions?.map(({ type, status }) => `${type}=${status}`).sort()).toEqual([
        "Ready=True",
        "Scheduled=False",
      ]);
      const last = await applyStatus("agent", { conditions: [] });
      expect(last.status?.phase).toBeUndefined();
      expect(last.status?.conditions?.map(({ type }) => type)).toEqual(["Scheduled"]);
    });

    test("the status is written by the status subresource only, and is no new generation", async () => {
      const created = await create({ size: 1 });
      const body = { metadata: key(), spec: { size: 9 }, status: { phase: "Running" } };
      const after = await client.applyStatus(widgets, body, { fieldManager: "x", force: true, signal });
      expect(after).toMatchObject({ spec: { size: 1 }, status: { phase: "Running" } });
      expect(after.metadata.generation).toBe(created.metadata.generation);
      const patch = { status: { phase: "Stopped" } };
      expect((await client.mergePatch(widgets, key(), patch, { signal })).status?.phase).toBe("Running");
      const patched = await client.mergePatch(widgets, key(), patch, { signal, subresource: "status" });
      expect(patched.status?.phase).toBe("Stopped");
    });

    test("a status of what is not there is not found: no status makes an object", async () => {
      expect(await refusal(applyStatus("a", { phase: "x" }))).toBe("404 NotFound");
      expect(await get()).toBeUndefined();
    });

    test("a write on a version that is over is a conflict, whatever the way", async () => {
      const { resourceVersion } = (await create()).metadata;
      await apply("other", { size: 2 }, true);
      const body = { metadata: { ...key(), resourceVersion }, spec: { size: 3 }, status: { phase: "x" } };
      const options = { fieldManager: "a", force: true, signal };
      expect(await refusal(client.apply(widgets, body, options))).toBe("409 Conflict");
      expect(await refusal(client.applyStatus(widgets, body, options))).toBe("409 Conflict");
      const patch = { metadata: { resourceVersion }, status: { phase: "x" } };
      const patched = client.mergePatch(widgets, key(), patch, { signal, subresource: "status" });
      expect(await refusal(patched)).toBe("409 Conflict");
    });

    test("a wrong uid is invalid, but on a status it is not even looked at: only the version protects it", async () => {
      await create();
      const metadata = { ...key(), uid: randomUUID() };
      const options = { fieldManager: "a", force: true, signal };
      expect(await refusal(client.apply(widgets, { metadata, spec: {} }, options))).toBe("422 Invalid");
      const { uid } = metadata;
      expect(await refusal(client.mergePatch(widgets, key(), { metadata: { uid } }, { signal }))).toBe(
        "422 Invalid",
      );
      const written = await client.applyStatus(widgets, { metadata, status: { phase: "x" } }, options);
      expect(written.metadata.uid).not.toBe(uid);
    });
  });

  describe("lists and watches", () => {
    test("select by namespace, label and a field of the status", async () => {
      await create({}, { labels: { app: name } });
      await applyStatus("a", { node: `node-${name}` });
      expect(await namesOf({ labelSelector: `app=${name}` })).toEqual([name]);
      expect(await namesOf({ labelSelector: `app in (${name},x)`, namespace: "other" })).toEqual([]);
      expect(await namesOf({ fieldSelector: `status.node=node-${name}` })).toEqual([name]);
      expect(await namesOf({ fieldSelector: `metadata.name=${name},status.node!=node-${name}` })).toEqual([]);
    });

    test("a watch from a list's version tells all that comes after it, and nothing before", async () => {
      await create();
      const { resourceVersion } = await client.list(widgets, { signal });
      const { events: seen } = watch({ resourceVersion, fieldSelector: `metadata.name=${name}` });
      await apply("other", { size: 2 }, true);
      await client.delete(widgets, key(), { signal });
      await waitFor("two events", () => kinds(seen).length === 2);
      expect(kinds(seen)).toEqual(["modified", "deleted"]);
    });

    test("watch-list sends what exists, says when that is all, and goes on", async () => {
      await create({}, { labels: { app: name } });
      const { events: seen } = watch({ sendInitialEvents: true, labelSelector: `app=${name}` });
      await waitFor("the end of what exists", () => seen.length === 2);
      expect(seen).toEqual([
        expect.objectContaining({ kind: "added" }),
        { kind: "bookmark", resourceVersion: expect.stringMatching(/^\d+$/u), initialEventsEnd: true },
      ]);
      await apply("other", { size: 2 }, true);
      await waitFor("the change", () => kinds(seen).length === 2);
    });

    test("an object that moves out of the selection is deleted for the watch, one that moves in is added", async () => {
      await create();
      const { resourceVersion } = await client.list(widgets, { signal });
      const { events: seen } = watch({ resourceVersion, fieldSelector: `status.node=${name}` });
      await applyStatus("a", { node: name });
      await applyStatus("a", { node: name, phase: "x" });
      await applyStatus("a", { node: "elsewhere" });
      await waitFor("three events", () => kinds(seen).length === 3);
      expect(kinds(seen)).toEqual(["added", "modified", "deleted"]);
    });

    test("a version that is too old is answered with 410", async () => {
      const error = await watch({ resourceVersion: "1" }).ended;
      expect(error).toBeInstanceOf(ApiError);
      expect(error).toMatchObject({ isExpired: true });
    });
  });

  test("a store follows, reads its own writes, and keeps apart what it cannot read", async () => {
    const selector = { labelSelector: `app=${name}`, namespace: "shop" };
    const store = createStore({ client, resource: widgets, ...selector, logger: silentLogger });
    const ended = store.run(signal);
    await store.whenSynced(signal);
    const created = await create({ size: 1 }, { labels: { app: name } });
    await store.whenSeen(created.metadata.resourceVersion, signal);
    expect(store.get(key())).toEqual(created);
    await apply("other", { color: "plaid" }, true).catch(() => {});
    await waitFor("the unreadable version", () => store.unreadable().length === 1);
    expect(() => store.get(key())).toThrow("spec.color");
    await client.delete(widgets, key(), { signal });
    await waitFor("the deletion", () => store.unreadable().length === 0);
    expect(store.get(key())).toBeUndefined();
    stop.abort();
    await ended;
  });

  test("a Lease is made and renewed with times in microseconds", async () => {
    const options = { client, ...key(), identity: name, logger: silentLogger };
    await renewLease(options, signal);
    await renewLease(options, signal);
    expect((await client.get(leases, key(), { signal }))?.spec).toMatchObject({
      holderIdentity: name,
      renewTime: expect.stringMatching(/\.\d{6}Z$/u),
    });
    expect(microTime(0)).toMatch(/\.\d{6}Z$/u);
  });

  test("an event is accepted, and counted when it is said again", async () => {
    const object = await create();
    const recorder = createEventRecorder({
      client,
      component: "vireo.dev/test",
      instance: "test",
      logger: silentLogger,
      signal,
    });
    recorder.event(object, "Warning", "NoNode", "no node fits: ü".repeat(200));
    await recorder.flush(signal);
    recorder.event(object, "Warning", "NoNode", "no node fits: ü".repeat(200));
    await recorder.flush(signal);
    const { items } = await client.list(events, { namespace: "shop", signal });
    expect(items.filter(({ metadata }) => metadata.name.startsWith(`${name}.`))).toEqual([
      expect.objectContaining({ reason: "NoNode", series: expect.objectContaining({ count: 2 }) }),
    ]);
  });

  test("built-in kinds without a status subresource work alike", async () => {
    const body = { metadata: key(), data: { a: "1" } };
    await client.apply(configMaps, body, { fieldManager: "a", signal });
    expect(await client.get(configMaps, key(), { signal })).toMatchObject({
      kind: "ConfigMap",
      data: { a: "1" },
    });
    const { items } = await client.list(configMaps, { namespace: "shop", signal });
    expect(items.find(({ metadata }) => metadata.name === name)).toMatchObject({
      apiVersion: "v1",
      kind: "ConfigMap",
    });
  });
});
