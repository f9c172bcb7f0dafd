import type { KubernetesObject } from "../api/meta.ts";

/** The older first; of two that were made in the same second the first by uid, so that everybody says the same. */
export const byAge = (one: KubernetesObject, other: KubernetesObject): number => {
  const [a, b] = [ageOf(one), ageOf(other)];
  return a === b ? 0 : a < b ? -1 : 1;
};

const ageOf = ({ metadata }: KubernetesObject): string => `${metadata.creationTimestamp} ${metadata.uid}`;
