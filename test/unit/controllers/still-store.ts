import type { KubernetesObject } from "../../../src/api/meta.ts";
import { type ObjectKey, type Store, UnreadableObjectError } from "../../../src/kube/index.ts";

/** A store that shows always the same; objects of these names cannot be understood. */
export const storeOf = <T extends KubernetesObject>(
  objects: readonly T[],
  indexes: Readonly<Record<string, (object: T) => readonly string[]>> = {},
  unreadable: readonly string[] = [],
): Store<T> => ({
  run: () => Promise.resolve(),
  synced: true,
  whenSynced: () => Promise.resolve(),
  get: ({ name }: ObjectKey) => {
    if (unreadable.includes(name)) throw new UnreadableObjectError(`${name} cannot be understood`);
    return objects.find(({ metadata }) => metadata.name === name);
  },
  list: () => objects,
  byIndex: (index, value) => objects.filter((object) => indexes[index]?.(object).includes(value)),
  unreadable: () =>
    unreadable.map((name) => ({ key: { name }, uid: undefined, resourceVersion: "1", message: "odd" })),
  onChange: () => () => {},
  whenSeen: () => Promise.resolve(),
});
