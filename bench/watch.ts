import type { KubernetesObject } from "../src/api/meta.ts";
import type { Resource } from "../src/api/resource.ts";
import { createStore, type KubeClient, silentLogger } from "../src/kube/index.ts";

/** Objects of one kind as a watch shows them: without the pauses of polling, which would be measured too. */
export interface Watch<T> {
  /** Resolves, with the time, when the watch shows the object so; rejects when `hopeless` says why it never will be. */
  until(
    name: string,
    condition: (object: T | undefined) => boolean,
    hopeless?: (object: T) => string | undefined,
  ): Promise<number>;
  close(): Promise<void>;
}

export const openWatch = async <T extends KubernetesObject>(
  client: KubeClient,
  resource: Resource<T>,
  namespace: string,
): Promise<Watch<T>> => {
  const life = new AbortController();
  const store = createStore({ client, resource, logger: silentLogger });
  const running = store.run(life.signal).catch((error: unknown) => {
    if (!life.signal.aborted) throw error;
  });
  await store.whenSynced(life.signal);
  return {
    until: (name, condition, hopeless = () => undefined) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const object = store.get({ namespace, name });
          const reason = object === undefined ? undefined : hopeless(object);
          if (reason === undefined && !condition(object)) return;
          stop();
          if (reason === undefined) resolve(performance.now());
          else reject(new Error(`${resource.kind} ${name}: ${reason}`));
        };
        const stop = store.onChange(look);
        look();
      }),
    close: async () => {
      life.abort();
      await running;
    },
  };
};
