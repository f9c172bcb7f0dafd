import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createKubeClient, type KubeClient } from "../../../src/kube/client.ts";
import { silentLogger } from "../../../src/kube/logger.ts";
import { createStore } from "../../../src/kube/store.ts";
import { configMaps } from "../../fakes/widgets.ts";
import { startControlPlane, type ControlPlane } from "../../testbed/control-plane.ts";
import { waitFor } from "../../testbed/wait.ts";
import { prepare } from "./sites.ts";

const COUNT = 10_000;
const MEGABYTE = 1024 * 1024;

describe("ten thousand objects", () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  const stop = new AbortController();
  const { signal } = stop;

  beforeAll(async () => {
    controlPlane = await startControlPlane({ auditLog: false });
    client = createKubeClient({ kubeConfig: await prepare(controlPlane) });
  }, 180_000);
  afterAll(async () => {
    stop.abort();
    await client.close();
    await controlPlane.stop();
  }, 60_000);

  const data = { text: "x".repeat(2000) };
  const create = (index: number): Promise<unknown> =>
    client.create(
      configMaps,
      { metadata: { namespace: "shop", name: `c-${index}`, labels: { test: "many" } }, data },
      { signal },
    );

  /** Writers that share the work, so that neither side waits for the other. */
  const createAll = async (): Promise<void> => {
    let next = 0;
    const writer = async (): Promise<void> => {
      while (next < COUNT) await create((next += 1));
    };
    await Promise.all(Array.from({ length: 16 }, writer));
  };

  test("are read, by watch-list and by LIST, indexed, and followed", async () => {
    await createAll();
    const usedBefore = process.memoryUsage().heapUsed;
    const startedAt = performance.now();
    const store = createStore({
      client,
      resource: configMaps,
      labelSelector: "test=many",
      logger: silentLogger,
      indexes: { lastDigit: ({ metadata }) => [metadata.name.slice(-1)] },
    });
    const running = store.run(signal);
    await store.whenSynced(signal);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    const grown = Math.round((process.memoryUsage().heapUsed - usedBefore) / MEGABYTE);
    process.stdout.write(`${COUNT} objects of 2 KB: synced in ${seconds} s, heap grew by ${grown} MiB\n`);

    expect(store.list()).toHaveLength(COUNT);
    expect(store.byIndex("lastDigit", "7")).toHaveLength(COUNT / 10);
    expect((await client.list(configMaps, { labelSelector: "test=many", signal })).items).toHaveLength(COUNT);

    for (let index = 1; index <= 50; index += 1)
      await client.delete(configMaps, { namespace: "shop", name: `c-${index}` }, { signal });
    await create(COUNT + 1);
    await waitFor("the changes", () => store.list().length === COUNT - 49);
    stop.abort();
    await running;
  }, 600_000);
});
