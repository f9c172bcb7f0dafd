import { apiVersionOf, type Resource } from "../api/resource.ts";
import { formatKey, type ObjectKey } from "./object-key.ts";

/** Undefined members are left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** The path of all objects of a kind, in one namespace or in all. */
export const collectionPath = (resource: Resource, namespace?: string): string => {
  const root = resource.group === "" ? "/api" : "/apis";
  const scope = namespace === undefined ? "" : `/namespaces/${segment("namespace", namespace)}`;
  if (scope !== "" && !resource.namespaced)
    throw new TypeError(`${resource.kind} is cluster-scoped, but the namespace ${namespace} was given`);
  return `${root}/${apiVersionOf(resource)}${scope}/${resource.plural}`;
};

/** The path of one object or of a subresource of it. */
export const objectPath = (resource: Resource, key: ObjectKey, subresource?: string): string => {
  if (resource.namespaced && key.namespace === undefined)
    throw new TypeError(`${resource.kind} ${formatKey(key)} is namespaced, but no namespace was given`);
  const object = `${collectionPath(resource, key.namespace)}/${segment("name", key.name)}`;
  return subresource === undefined ? object : `${object}/${subresource}`;
};

/** Whatever the text, it stays one segment: dots alone would be resolved on the way. */
const segment = (what: string, text: string): string => {
  if (text === "" || text === "." || text === "..") throw new TypeError(`"${text}" cannot be a ${what}`);
  return encodeURIComponent(text);
};

export const withQuery = (path: string, query: Query): string => {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) parameters.set(name, String(value));
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
};
