import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createKubeClient, type KubeClient } from "../../../src/kube/client.ts";
import { createController, done } from "../../../src/kube/controller.ts";
import { formatKey } from "../../../src/kube/object-key.ts";
import { createStore, type Store } from "../../../src/kube/store.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";
import { widgets, type Widget } from "../../fakes/widgets.ts";
import { startControlPlane, type ControlPlane } from "../../testbed/control-plane.ts";
import { waitFor } from "../../testbed/wait.ts";
import { prepare } from "./sites.ts";

const patience = { timeoutMs: 90_000, intervalMs: 100 };

/** As a user would: again, until it is done. */
const insist = (what: string, write: () => Promise<unknown>): Promise<true> =>
  waitFor(
    what,
    async () => {
      await write();
      return true as const;
    },
    patience,
  );
const sizes = (objects: readonly Widget[]): Map<string, number | undefined> =>
  new Map(objects.map(({ metadata, spec }) => [metadata.name, spec?.size]));

describe("an API server that is killed and frozen in the middle of watches", () => {
  let controlPlane: ControlPlane;
  let writer: KubeClient;
  let reader: KubeClient;
  const stop = new AbortController();
  const { signal } = stop;

  beforeAll(async () => {
    controlPlane = await startControlPlane();
    const kubeConfig = await prepare(controlPlane);
    writer = createKubeClient({ kubeConfig, requestTimeoutMs: 5_000 });
    reader = createKubeClient({ kubeConfig, requestTimeoutMs: 5_000 });
  }, 180_000);
  afterAll(async () => {
    stop.abort();
    await writer.close();
    await reader.close();
    await controlPlane.stop();
  }, 60_000);

  const put = (index: number, size: number): Promise<true> =>
    insist(`w-${index} to be written`, () =>
      writer.apply(
        widgets,
        { metadata: { namespace: "shop", name: `w-${index}` }, spec: { size } },
        { fieldManager: "test", signal },
      ),
    );
  const remove = (index: number): Promise<true> =>
    insist(`w-${index} to be deleted`, () =>
      writer.delete(widgets, { namespace: "shop", name: `w-${index}` }, { signal }),
    );
  const whenEqual = (store: Store<Widget>): Promise<true> =>
    waitFor(
      "the store to equal the server",
      async () => {
        const { items } = await writer.list(widgets, { signal });
        expect(sizes(store.list())).toEqual(sizes(items));
        return true as const;
      },
      patience,
    );

  test("the store ends equal, the controller has seen the last state of all, and nobody gave up", async () => {
    const logger = createRecordingLogger();
    const timings = { idleTimeoutMs: 10_000 };
    const store = createStore({ client: reader, resource: widgets, logger, timings });
    const seen = new Map<string, number | undefined>();
    const controller = createController({
      name: "test",
      watches: [{ store }],
      logger,
      reconcile: async (key) => {
        const object = store.get(key);
        if (object === undefined) seen.delete(key.name);
        else seen.set(key.name, object.spec?.size);
        return done;
      },
    });
    const running = [store.run(signal), controller.run(signal)];
    for (let index = 0; index < 20; index += 1) await put(index, 0);
    await whenEqual(store);

    for (let round = 1; round <= 3; round += 1) {
      const writing = Promise.all([put(round, round), put(20 + round, round), remove(10 + round)]);
      if (round === 2) {
        await controlPlane.killApiServer("SIGSTOP");
        await waitFor(
          "the store to notice the silence",
          () => logger.lines.some(({ message }) => message.includes("watch failed")),
          patience,
        );
        await controlPlane.killApiServer("SIGCONT");
      } else await controlPlane.restartApiServer();
      await writing;
      await put(round + 5, 100 + round);
      await whenEqual(store);
    }

    await waitFor(
      "the controller to have caught up",
      () => {
        expect(seen).toEqual(sizes(store.list()));
        return true;
      },
      patience,
    );
    expect(store.list()).toHaveLength(20);
    expect(store.list().map((object) => formatKey(object.metadata))).toContain("shop/w-23");
    stop.abort();
    await Promise.all(running);
  }, 300_000);
});
