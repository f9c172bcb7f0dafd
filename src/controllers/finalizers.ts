import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { isNotFound, type KubeClient, keyOf } from "../kube/index.ts";

/**
 * Writes the list of finalizers as a whole, bound to the version that it was
 * read from: nobody's finalizer is lost. Resolves with the next version, or
 * undefined when the object is gone.
 */
export const writeFinalizers = async <T extends KubernetesObject>(
  client: KubeClient,
  resource: Resource<T>,
  object: T,
  finalizers: readonly string[],
  signal: AbortSignal,
): Promise<T | undefined> => {
  const { uid, resourceVersion } = object.metadata;
  const patch = { metadata: { uid, resourceVersion, finalizers } };
  try {
    return await client.mergePatch(resource, keyOf(object), patch, { signal });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
};
