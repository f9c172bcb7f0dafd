import { flatten, unflatten, type Json, type Leaves } from "./kube-api-flat.ts";

/** Who owns which leaf: leaf id -> managers. */
export type Ownership = Map<string, Set<string>>;

/** Another manager owns the field and wants another value. */
export class OwnershipConflict extends Error {}

const IDENTITY: ReadonlySet<string> = new Set(
  [
    ["apiVersion"],
    ["kind"],
    ["metadata", "name"],
    ["metadata", "namespace"],
    ["metadata", "uid"],
    ["metadata", "resourceVersion"],
  ].map((path) => JSON.stringify(path)),
);

const ownable = (value: Json): Leaves => {
  const leaves = flatten(value);
  for (const id of IDENTITY) leaves.delete(id);
  return leaves;
};

/**
 * Server-side apply: sets what the manager says, removes what it said before
 * and leaves out now if nobody else says it, refuses to change what others own.
 */
export const applyConfiguration = (
  current: Json,
  ownership: Ownership,
  request: { readonly manager: string; readonly configuration: Json; readonly force: boolean },
): Json => {
  const { manager, force } = request;
  const leaves = flatten(current);
  const wanted = ownable(request.configuration);
  for (const [id, leaf] of wanted) {
    const owners = ownership.get(id) ?? new Set();
    const others = [...owners].filter((owner) => owner !== manager);
    const isSame = JSON.stringify(leaves.get(id)?.value) === JSON.stringify(leaf.value);
    if (others.length > 0 && !isSame) {
      if (!force)
        throw new OwnershipConflict(`conflict with "${others[0]}": ${leaf.path.map(stepName).join(".")}`);
      owners.clear();
    }
    ownership.set(id, owners.add(manager));
    leaves.set(id, leaf);
  }
  for (const [id, owners] of ownership) {
    if (wanted.has(id) || !owners.delete(manager) || owners.size > 0) continue;
    ownership.delete(id);
    leaves.delete(id);
  }
  return unflatten(leaves);
};

const stepName = (step: unknown): string => (typeof step === "string" ? step : JSON.stringify(step));

/** After a create or patch: whoever changes a value owns it alone. */
export const noteUpdate = (before: Json, after: Json, ownership: Ownership, manager: string): void => {
  const old = ownable(before);
  const now = ownable(after);
  for (const id of old.keys()) if (!now.has(id)) ownership.delete(id);
  for (const [id, leaf] of now)
    if (JSON.stringify(old.get(id)?.value) !== JSON.stringify(leaf.value))
      ownership.set(id, new Set([manager]));
};
