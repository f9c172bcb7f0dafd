import { timestampOf } from "../../../api/condition.ts";
import type { EnforcedGroup, Hypervisor } from "../../../api/hypervisor.ts";
import type { SecurityGroup } from "../../../api/security-group.ts";

/** As many as the Hypervisor's status may name. */
const MAX_GROUPS = 1000;

/**
 * Which version of which group is in force on this node, for the Hypervisor's
 * status. A fresh agent goes on with what its predecessor reported: that it
 * programs the same rules again is no news.
 */
export interface EnforcedGroups {
  /** Notes that the rules of exactly these groups are in force now. */
  record(groups: readonly SecurityGroup[]): void;
  list(): readonly EnforcedGroup[];
  onChange(listener: () => void): () => void;
}

export const createEnforcedGroups = (
  reported: () => Hypervisor | undefined,
  now: () => Date,
): EnforcedGroups => {
  let current: readonly EnforcedGroup[] | undefined;
  const listeners = new Set<() => void>();
  const list = (): readonly EnforcedGroup[] => current ?? reported()?.status?.securityGroups ?? [];

  return {
    list,
    record: (groups) => {
      const before = list();
      const known = new Map(before.map((entry) => [entry.uid, entry]));
      const after = groups
        .slice(0, MAX_GROUPS)
        .map(({ metadata }) => {
          const { uid, namespace = "", name, generation = 0 } = metadata;
          const entry = known.get(uid);
          if (entry?.generation === generation) return entry;
          return { uid, namespace, name, generation, programmedAt: timestampOf(now()) };
        })
        .toSorted((a, b) => (a.uid < b.uid ? -1 : 1));
      current = after;
      const isNews = after.length !== before.length || after.some((entry) => known.get(entry.uid) !== entry);
      if (isNews) for (const listener of listeners) listener();
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
};
