import type { AddressSet, AddressSets } from "./types.ts";

/** The difference between the sets that are to be and those that are, as lines for `ipset restore`. */

/** Far above what a cluster has; the kernel takes memory for what a set holds, not for this. */
const MAX_ENTRIES = 1_048_576;

/** Holds a set's new content until it changes places with the old one. */
export const temporarySet = (prefix: string): string => `${prefix}next`;

const create = (name: string, { type }: AddressSet): string =>
  `create ${name} ${type} family inet maxelem ${MAX_ENTRIES}`;

const fill = (name: string, { entries }: AddressSet): readonly string[] =>
  [...entries].map((entry) => `add ${name} ${entry}`);

export const sameSet = (one: AddressSet, other: AddressSet): boolean =>
  one === other ||
  (one.type === other.type &&
    one.entries.size === other.entries.size &&
    [...one.entries].every((entry) => other.entries.has(entry)));

/** The names of wanted sets that are missing or hold something else. */
export const differingSets = (wanted: AddressSets, present: AddressSets): readonly string[] =>
  [...wanted].flatMap(([name, set]) => {
    const existing = present.get(name);
    return existing !== undefined && sameSet(set, existing) ? [] : [name];
  });

/** The one line that makes the set hold what it should, if one is enough. */
const singleChange = (name: string, set: AddressSet, existing: AddressSet): string | undefined => {
  if (Math.abs(set.entries.size - existing.entries.size) !== 1) return undefined;
  const added = [...set.entries.difference(existing.entries)];
  const removed = [...existing.entries.difference(set.entries)];
  const [line] = [
    ...added.map((entry) => `add ${name} ${entry}`),
    ...removed.map((entry) => `del ${name} ${entry}`),
  ];
  return added.length + removed.length === 1 ? line : undefined;
};

/**
 * A set that exists gets its new content at one moment: rules that use it see
 * the old content or the new one. A set that does not exist is used by nothing yet.
 */
const renew = (
  prefix: string,
  name: string,
  set: AddressSet,
  existing: AddressSet | undefined,
): readonly string[] => {
  if (existing === undefined) return [create(name, set), ...fill(name, set)];
  // Sets of two types cannot change places; the name tells the type, so that this is somebody's damage.
  if (existing.type !== set.type) return [`destroy ${name}`, create(name, set), ...fill(name, set)];
  const single = singleChange(name, set, existing);
  if (single !== undefined) return [single];
  const next = temporarySet(prefix);
  return [create(next, set), ...fill(next, set), `swap ${next} ${name}`, `destroy ${next}`];
};

/** Makes and fills what is missing or differs. What a killed program left of it before goes first. */
export const planFill = (prefix: string, wanted: AddressSets, present: AddressSets): readonly string[] => {
  const next = temporarySet(prefix);
  return [
    ...(present.has(next) ? [`destroy ${next}`] : []),
    ...differingSets(wanted, present).flatMap((name) => {
      const set = wanted.get(name);
      return set === undefined ? [] : renew(prefix, name, set, present.get(name));
    }),
  ];
};

/** Reads what `ipset save` prints, of sets whose names begin with the prefix. */
export const parseSets = (prefix: string, text: string): AddressSets => {
  const sets = new Map<string, { type: AddressSet["type"]; entries: Set<string> }>();
  for (const line of text.split("\n")) {
    const [verb, name = "", ...rest] = line.trim().split(" ");
    if (!name.startsWith(prefix)) continue;
    if (verb === "create") {
      sets.set(name, { type: rest[0] === "hash:net" ? "hash:net" : "hash:ip", entries: new Set() });
    } else if (verb === "add") sets.get(name)?.entries.add(rest.join(" "));
  }
  return sets;
};
