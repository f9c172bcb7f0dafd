/**
 * Is the first resourceVersion the same as or newer than the second? Versions
 * of one kind are ordered decimal numbers of any length.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 */
export const isAtLeast = (resourceVersion: string, other: string): boolean =>
  resourceVersion.length === other.length ? resourceVersion >= other : resourceVersion.length > other.length;
