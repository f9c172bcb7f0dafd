import { isDeepStrictEqual } from "node:util";
import { type Condition, findCondition } from "../api/condition.ts";
import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import type { KubeClient, Store, WritableObject } from "../kube/index.ts";

/** One name for the agents of all nodes, so that the next node's agent takes over its predecessor's fields. */
export const FIELD_MANAGER = "vireo-node-agent";

/** What every status has that the agent writes. */
interface CommonStatus {
  readonly conditions?: readonly Condition[] | undefined;
}

type WithStatus = KubernetesObject & { readonly status?: CommonStatus | undefined };

/** A status as one server-side apply. */
export interface StatusApply extends WritableObject {
  readonly metadata: { readonly name: string; readonly namespace?: string | undefined; readonly uid: string };
  readonly status: CommonStatus;
}

/** What of a status is the agent's: what it leaves out there must be gone. */
export interface OwnStatus {
  readonly fields: readonly string[];
  /** Types of conditions. */
  readonly conditions: readonly string[];
}

/** Whether the stored status already says all that the apply says, and nothing of ours beyond. */
export const isSaid = (stored: CommonStatus | undefined, wanted: CommonStatus, own: OwnStatus): boolean =>
  stored !== undefined &&
  own.fields.every((field) => isDeepStrictEqual(Reflect.get(stored, field), Reflect.get(wanted, field))) &&
  own.conditions.every((type) =>
    isDeepStrictEqual(findCondition(stored.conditions, type), findCondition(wanted.conditions, type)),
  );

/**
 * The objects of one kind that are this node's, as this process knows them:
 * what the watch brought, or what a write of ours returned, if that is newer.
 * Without it a pass right after a write would decide on the state before, and
 * write again. Objects are known by their UID, as things on the host are.
 */
export interface ObjectView<T extends WithStatus, Apply extends StatusApply = StatusApply> {
  get(uid: string): T | undefined;
  list(): readonly T[];
  /** Whether the watch only brought back what this process wrote itself. */
  isOwnWrite(object: T): boolean;
  /** Asks the API server for the UIDs of all objects of the kind in the cluster, whichever node they name. */
  uidsInCluster(options: { signal: AbortSignal }): Promise<ReadonlySet<string>>;
  /** Asks the API server whether any object of the kind in the cluster has this UID. */
  existsInCluster(uid: string, options: { signal: AbortSignal }): Promise<boolean>;
  /**
   * Writes the status unless it is said already. Bound to the newest version
   * that is known: an object that was made anew under the same name must not
   * get the old one's status, and the API server checks no UID there.
   */
  say(object: T, apply: Apply, options: { signal: AbortSignal }): Promise<void>;
}

export interface ObjectViewOptions<T extends WithStatus> {
  /** Has an index "uid". */
  readonly store: Pick<Store<T>, "byIndex" | "list" | "onChange">;
  readonly client: Pick<KubeClient, "applyStatus" | "listRaw">;
  readonly resource: Resource<T>;
  readonly own: OwnStatus;
}

export const createObjectView = <T extends WithStatus, Apply extends StatusApply>({
  store,
  client,
  resource,
  own,
}: ObjectViewOptions<T>): ObjectView<T, Apply> => {
  const written = new Map<string, T>();

  const isOwnWrite = ({ metadata }: T): boolean =>
    written.get(metadata.uid)?.metadata.resourceVersion === metadata.resourceVersion;

  const newest = (stored: T): T => {
    const ours = written.get(stored.metadata.uid);
    if (ours === undefined) return stored;
    if (BigInt(stored.metadata.resourceVersion) < BigInt(ours.metadata.resourceVersion)) return ours;
    written.delete(stored.metadata.uid);
    return stored;
  };

  store.onChange(({ after, before }) => {
    if (after === undefined && before !== undefined) written.delete(before.metadata.uid);
  });

  const get = (uid: string): T | undefined => {
    const [stored] = store.byIndex("uid", uid);
    return stored === undefined ? undefined : newest(stored);
  };

  const uidsInCluster = async ({ signal }: { signal: AbortSignal }): Promise<ReadonlySet<string>> => {
    const { items } = await client.listRaw(resource, { signal });
    return new Set(items.flatMap(({ metadata }) => metadata.uid ?? []));
  };

  return {
    get,
    list: () => store.list().map(newest),
    isOwnWrite,
    uidsInCluster,
    existsInCluster: async (uid, options) => (await uidsInCluster(options)).has(uid),
    say: async (object, apply, { signal }) => {
      if (isSaid(object.status, apply.status, own)) return;
      const options = { fieldManager: FIELD_MANAGER, force: true, signal };
      const { resourceVersion } = (get(object.metadata.uid) ?? object).metadata;
      const body = { ...apply, metadata: { ...apply.metadata, resourceVersion } };
      const answer = await client.applyStatus(resource, body, options);
      written.set(answer.metadata.uid, answer);
    },
  };
};
