import type { KubernetesObject } from "./meta.ts";

/** A kind as the API server addresses it, and the parser that makes its wire form a typed value. */
export interface Resource<T extends KubernetesObject = KubernetesObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Plural, as in the URL path. */
  readonly plural: string;
  readonly namespaced: boolean;
  /** Parses what came from outside; throws with a message that names the field when it does not fit. */
  readonly parse: (raw: unknown) => T;
}

/** "vireo.dev/v1alpha1", or "v1" for the core group. */
export const apiVersionOf = (resource: Pick<Resource, "group" | "version">): string =>
  resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
