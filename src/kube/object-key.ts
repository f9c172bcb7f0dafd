import type { KubernetesObject } from "../api/meta.ts";

/** What names an object among those of its kind. */
export interface ObjectKey {
  /** Absent for cluster-scoped objects. */
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** The key of an object. */
export const keyOf = (object: {
  readonly metadata: Pick<KubernetesObject["metadata"], "name" | "namespace">;
}): ObjectKey => {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? { name } : { namespace, name };
};

/** "namespace/name", or "name" for cluster-scoped objects: for logs, and as the identity in maps and queues. */
export const formatKey = (key: ObjectKey): string =>
  key.namespace === undefined ? key.name : `${key.namespace}/${key.name}`;

/** The inverse of formatKey. Names hold no slash, so the first one separates. */
export const parseKey = (text: string): ObjectKey => {
  const slash = text.indexOf("/");
  return slash === -1 ? { name: text } : { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
};
