import { isDeepStrictEqual } from "node:util";
import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { type KubeClient, type Store, isNotFound } from "../kube/index.ts";

/** Who the controller is for server-side apply: it owns the fields that it writes under this name. */
export const FIELD_MANAGER = "vireo-controller";

export interface StatusWrite<T extends KubernetesObject> {
  readonly client: KubeClient;
  readonly resource: Resource<T>;
  readonly store: Store<T>;
  readonly signal: AbortSignal;
}

/**
 * Applies a status to the very version of the object that it was decided on: a
 * write that is late, because the object was changed or made anew since, or
 * because another leader is at work, ends in a conflict and has no effect.
 *
 * Returns when the store shows the write, so that the next look at the object
 * is not a look at the past; undefined when the object is gone.
 */
export const applyStatus = async <T extends KubernetesObject>(
  { client, resource, store, signal }: StatusWrite<T>,
  { metadata: { name, namespace, uid, resourceVersion } }: T,
  status: object,
): Promise<T | undefined> => {
  const body = {
    metadata: { name, ...(namespace !== undefined && { namespace }), uid, resourceVersion },
    status,
  };
  try {
    const written = await client.applyStatus(resource, body, {
      fieldManager: FIELD_MANAGER,
      force: true,
      signal,
    });
    await store.whenSeen(written.metadata.resourceVersion, signal);
    return written;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
};

/**
 * Do the two statuses say the same? Lists that are maps or sets for the API
 * server have no order, so theirs does not count.
 */
export const isSameStatus = (stored: object | undefined, wanted: object): boolean =>
  stored !== undefined && isDeepStrictEqual(canonical(stored), canonical(wanted));

const canonical = (value: unknown): unknown => {
  if (Array.isArray(value))
    return value.map(canonical).toSorted((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(entries.map(([name, field]) => [name, canonical(field)]));
};

const sortKey = (value: unknown): string => JSON.stringify(value);
