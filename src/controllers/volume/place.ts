import type { Hypervisor } from "../../api/hypervisor.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { isShared } from "../disk-source/judge.ts";
import { isLost } from "../hypervisor/status.ts";
import { passing, type Violation } from "../virtual-machine/violation.ts";
import { NODE_LOST } from "../voice.ts";
import { isGiven, isMade } from "./judge.ts";
import type { Origin } from "./origin.ts";

/** Pure: which node works on a Volume. */

export interface PlaceFacts {
  readonly volume: Volume;
  /** The machine that the Volume is reserved for. */
  readonly holder: VirtualMachine | undefined;
  readonly hypervisors: readonly Hypervisor[];
}

export type Place =
  | { readonly kind: "node"; readonly nodeName: string }
  /** No machine names the Volume, or the one that does has no node. */
  | { readonly kind: "first-consumer" }
  | { readonly kind: "unusable"; readonly violation: Violation };

/**
 * The node that makes the Volume: the one that has its source, else that of the
 * machine that it is for. What can be read from several nodes is made where the
 * machine is.
 */
export const firstPlace = (facts: PlaceFacts, { nodeName, sharedPool }: Origin): Place => {
  const consumer = facts.holder?.status?.nodeName;
  if (nodeName === undefined)
    return consumer === undefined ? { kind: "first-consumer" } : check(facts, consumer);
  if (sharedPool === undefined) return check(facts, nodeName);
  const readers = facts.hypervisors
    .filter((hypervisor) => !isLost(hypervisor) && hasPool(hypervisor, sharedPool))
    .map(({ metadata }) => metadata.name)
    .toSorted();
  const preferred = [consumer, nodeName].find((name) => name !== undefined && readers.includes(name));
  return check(facts, preferred ?? readers[0] ?? nodeName);
};

const check = ({ volume, hypervisors }: PlaceFacts, nodeName: string): Place => {
  const hypervisor = find(hypervisors, nodeName);
  const { pool } = volume.spec;
  if (hypervisor === undefined || isLost(hypervisor)) {
    const fate = hypervisor === undefined ? "does not exist any more" : "gives no sign of life";
    return unusable(NODE_LOST, `Node ${nodeName}, where the Volume has to be made, ${fate}.`);
  }
  if (hasPool(hypervisor, pool)) return { kind: "node", nodeName };
  return unusable(
    "PoolNotFound",
    `Node ${nodeName}, where the Volume has to be made, has no storage pool ${pool}; it has ${poolsOf(hypervisor).join(", ")}. Name the pool on the node (--storage-pool), or make a Volume in another pool.`,
  );
};

const unusable = (reason: string, message: string): Place => ({
  kind: "unusable",
  violation: passing(reason, message),
});

/**
 * The node of a Volume that has one. A disk that a machine was given is where the
 * machine is: it has moved with it. In a shared pool the files can be worked on
 * from elsewhere: where the machine is that it is for, or any node when its own
 * is gone for good. But a copy that is being made is not handed over.
 */
export const presentPlace = ({ volume, holder, hypervisors }: PlaceFacts, nodeName: string): string => {
  const machineNode = holder?.status?.nodeName;
  const sharing = hypervisors.filter((hypervisor) => isShared(hypervisor, volume.spec.pool));
  if (machineNode !== undefined) {
    const isWithinReach = find(sharing, machineNode) !== undefined;
    const isGivenToIt = holder !== undefined && isGiven(holder, volume);
    const canBeMadeThere = !isWithinReach && !isCopy(volume);
    if ((isWithinReach || isGivenToIt) && (isMade(volume) || canBeMadeThere)) return machineNode;
  }
  if (find(hypervisors, nodeName) !== undefined) return nodeName;
  const [heir] = sharing
    .filter((hypervisor) => !isLost(hypervisor))
    .map(({ metadata }) => metadata.name)
    .toSorted();
  return heir ?? nodeName;
};

/** Is it made out of data that one node has? */
const isCopy = ({ status }: Volume): boolean =>
  status?.allocation?.source !== undefined || status?.allocation?.retainedUid !== undefined;

const find = (hypervisors: readonly Hypervisor[], name: string): Hypervisor | undefined =>
  hypervisors.find(({ metadata }) => metadata.name === name);

/** A node whose agent has said nothing of its pools has the one that all have. */
const poolsOf = ({ status }: Hypervisor): readonly string[] =>
  status?.storagePools?.map(({ name }) => name) ?? [LOCAL_POOL];

const hasPool = (hypervisor: Hypervisor, pool: string): boolean => poolsOf(hypervisor).includes(pool);
