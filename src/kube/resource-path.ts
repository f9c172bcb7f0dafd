import { apiVersionOf, type Resource } from "../api/resource.ts";
import { formatKey, type ObjectKey } from "./object-key.ts";

/** Undefined members are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** The path of all objects of a kind, in one namespace or in all. */
export const collectionPath = (resource: Resource, namespace?: string): string => {
  const root = resource.group === "" ? "/api" : "/apis";
  const scope = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  if (scope !== "" && !resource.namespaced)
    throw new TypeError(`${resource.kind} is cluster-scoped, but the namespace ${namespace} was given`);
  return `${root}/${apiVersionOf(resource)}${scope}/${resource.plural}`;
};

/** The path of one object or of a subresource of it. */
export const objectPath = (resource: Resource, key: ObjectKey, subresource?: string): string => {
  if (resource.namespaced && key.namespace === undefined)
    throw new TypeError(`${resource.kind} ${formatKey(key)} is namespaced, but no namespace was given`);
  if (key.name === "" || key.name === "." || key.name === "..")
    throw new TypeError(`"${key.name}" cannot name a ${resource.kind}`);
  const object = `${collectionPath(resource, key.namespace)}/${encodeURIComponent(key.name)}`;
  return subresource === undefined ? object : `${object}/${subresource}`;
};

export const withQuery = (path: string, query: Query): string => {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) parameters.set(name, String(value));
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
};
