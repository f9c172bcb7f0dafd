import type { KubernetesObject } from "../api/meta.ts";
import type { Clock, Store } from "../kube/index.ts";

/**
 * Manifests that are applied together reach us in any order. What is new waits
 * so long, in ms, for what it refers to, before it complains.
 */
export const PATIENCE_MS = 300;

/** How long this process has known each object of the store, in ms by its own clock; asked for by uid. */
export const createAcquaintance = <T extends KubernetesObject>(
  store: Store<T>,
  clock: Clock,
): ((uid: string) => number) => {
  const since = new Map<string, number>();
  store.onChange(({ before, after }) => {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid)
      since.delete(before.metadata.uid);
  });
  return (uid) => {
    const now = clock.monotonic();
    const first = since.get(uid) ?? now;
    since.set(uid, first);
    return now - first;
  };
};
