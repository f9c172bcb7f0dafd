import { findCondition } from "../../api/condition.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import { byAge } from "../by-age.ts";
import type { Ends } from "./phase.ts";

/** Pure: how many machines may move at a time, and whose turn it is. */

/** Reason of Ready=False while as many machines move as may. */
export const TOO_MANY_MIGRATIONS = "TooManyMigrations";

/** Could it be the next to move? One that waits for something else does not hold the others up. */
export const waitsForSlot = ({ status }: VirtualMachineMigration): boolean => {
  const ready = findCondition(status?.conditions, "Ready");
  return ready === undefined || ready.reason === TOO_MANY_MIGRATIONS;
};

/** Which ends a migration would have; undefined for a target that the scheduler chooses. */
export interface Wish {
  readonly sourceNode: string;
  readonly targetNode: string | undefined;
}

export interface SlotFacts {
  readonly flights: readonly Ends[];
  readonly hypervisors: readonly Hypervisor[];
  readonly maxParallel: number;
}

/** Most machines that leave or enter a node that says nothing of it. */
const DEFAULT_PER_NODE = 2;

const limitOf = ({ hypervisors }: SlotFacts, nodeName: string): number =>
  hypervisors.find(({ metadata }) => metadata.name === nodeName)?.spec.maxParallelMigrations ??
  DEFAULT_PER_NODE;

const countOn = (flights: readonly Ends[], nodeName: string): number =>
  flights.filter(({ sourceNode, targetNode }) => sourceNode === nodeName || targetNode === nodeName).length;

/** Why no machine may begin to leave or enter the node, as the rest of a sentence that begins with its name. */
export const saturationOf = (facts: SlotFacts, nodeName: string): string | undefined => {
  const limit = limitOf(facts, nodeName);
  return countOn(facts.flights, nodeName) < limit
    ? undefined
    : `moves ${limit === 1 ? "one machine" : `${limit} machines`} at a time (spec.maxParallelMigrations)`;
};

/** Why there is no place for it, in a sentence. */
export const obstacleOf = (facts: SlotFacts, { sourceNode, targetNode }: Wish): string | undefined => {
  if (facts.flights.length >= facts.maxParallel)
    return `${facts.maxParallel === 1 ? "One machine moves" : `${facts.maxParallel} machines move`} at a time in the cluster (--max-parallel-migrations).`;
  for (const nodeName of targetNode === undefined ? [sourceNode] : [sourceNode, targetNode]) {
    const saturation = saturationOf(facts, nodeName);
    if (saturation !== undefined) return `Node ${nodeName} ${saturation}.`;
  }
  return undefined;
};

/**
 * The places that are left when all who are older have taken theirs. An older one
 * for which there is no place anyway keeps nobody waiting.
 */
export const afterElders = (
  facts: SlotFacts,
  migration: VirtualMachineMigration,
  queue: readonly (Wish & { readonly migration: VirtualMachineMigration })[],
): SlotFacts => {
  const flights: Ends[] = [...facts.flights];
  for (const elder of queue.filter((other) => byAge(other.migration, migration) < 0)) {
    if (obstacleOf({ ...facts, flights }, elder) !== undefined) continue;
    flights.push({ sourceNode: elder.sourceNode, targetNode: elder.targetNode ?? elder.sourceNode });
  }
  return { ...facts, flights };
};

/** How many of those that wait for a place are older. */
export const countAhead = (
  migration: VirtualMachineMigration,
  queue: readonly { readonly migration: VirtualMachineMigration }[],
): number => queue.filter((other) => byAge(other.migration, migration) < 0).length;
