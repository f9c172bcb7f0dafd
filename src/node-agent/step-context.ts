import { isTrue } from "../api/condition.ts";
import type { AgentOptions } from "./agent.ts";
import { coalesce } from "./coalesce.ts";
import { desiredFilters, placed } from "./desired.ts";
import type { StepContext } from "./steps.ts";

/** The rules of this node follow from all its machines at once; a machine that is being removed has left already. */
export const createStepContext = (
  options: Pick<AgentOptions, "machines" | "rooms" | "store">,
  signal: AbortSignal,
): StepContext => {
  const { machines, rooms } = options;
  const removed = new Set<string>();
  const syncFilters = coalesce(() => {
    const guests = machines
      .list()
      .filter(({ metadata, status }) => !removed.has(metadata.uid) && !isTrue(status?.conditions, "Released"))
      .flatMap((machine) => placed(machine) ?? [])
      .flatMap(desiredFilters);
    return rooms.filters.sync(guests, { signal });
  });
  options.store.onChange(({ before, after }) => {
    if (after === undefined && before !== undefined) removed.delete(before.metadata.uid);
  });
  return {
    ...rooms,
    syncFilters,
    removeFilters: (vmUid) => {
      if (machines.get(vmUid) !== undefined) removed.add(vmUid);
      return syncFilters();
    },
  };
};
