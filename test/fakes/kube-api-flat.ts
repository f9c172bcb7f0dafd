/**
 * An object as a set of leaves: what server-side apply reasons about. Objects
 * are walked into; lists are one leaf, unless their field is a map with a key
 * (conditions by type) or a set (finalizers).
 */
export type Step = string | { readonly key: string; readonly value: string } | { readonly member: string };
export type Path = readonly Step[];
export interface Leaf {
  readonly path: Path;
  readonly value: unknown;
}
export type Leaves = Map<string, Leaf>;
export type Json = Record<string, unknown>;

const LIST_KEYS: Readonly<Record<string, string>> = { conditions: "type", ownerReferences: "uid" };
const SETS: ReadonlySet<string> = new Set(["finalizers"]);

export const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const flatten = (value: unknown): Leaves => {
  const leaves: Leaves = new Map();
  walk(value, [], leaves);
  return leaves;
};

const walk = (value: unknown, path: Path, leaves: Leaves): void => {
  if (isObject(value) && (Object.keys(value).length > 0 || path.length === 0)) {
    for (const [name, member] of Object.entries(value)) walk(member, [...path, name], leaves);
    return;
  }
  const field = path.at(-1);
  if (Array.isArray(value) && typeof field === "string" && walkList(value, field, path, leaves)) return;
  leaves.set(JSON.stringify(path), { path, value });
};

const walkList = (list: unknown[], field: string, path: Path, leaves: Leaves): boolean => {
  const key = LIST_KEYS[field];
  if (key !== undefined) {
    for (const item of list)
      if (isObject(item)) walk(item, [...path, { key, value: String(item[key]) }], leaves);
    return true;
  }
  if (!SETS.has(field)) return false;
  for (const member of list.map(String)) {
    const at = [...path, { member }];
    leaves.set(JSON.stringify(at), { path: at, value: member });
  }
  return true;
};

export const unflatten = (leaves: Leaves): Json => {
  const root: Json = {};
  for (const { path, value } of leaves.values()) place(root, path, structuredClone(value));
  return root;
};

const place = (parent: Json | unknown[], path: Path, value: unknown): void => {
  const [step, ...rest] = path;
  if (step === undefined) return;
  if (typeof step === "string") {
    const object = parent as Json;
    // Saying that a field is an object takes nothing out of it.
    if (rest.length === 0) object[step] = isObject(value) && isObject(object[step]) ? object[step] : value;
    else place(child(object, step, rest[0]), rest, value);
    return;
  }
  const list = parent as unknown[];
  if ("member" in step) {
    list.push(value);
    return;
  }
  let item = list.find((candidate) => isObject(candidate) && candidate[step.key] === step.value);
  if (item === undefined) {
    item = { [step.key]: step.value };
    list.push(item);
  }
  place(item as Json, rest, value);
};

const child = (object: Json, name: string, next: Step | undefined): Json | unknown[] => {
  object[name] ??= typeof next === "string" ? {} : [];
  return object[name] as Json | unknown[];
};

/** RFC 7386. */
export const mergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isObject(patch)) return patch;
  const result: Json = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = mergePatch(result[name], value);
  }
  return result;
};
