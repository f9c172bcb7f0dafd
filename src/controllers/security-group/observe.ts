import { isTrue } from "../../api/condition.ts";
import type { EnforcedGroup } from "../../api/hypervisor.ts";
import type { KubernetesObject } from "../../api/meta.ts";
import { DEFAULT_GROUP, remoteGroupsOf, type SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { formatKey, type ObjectKey, type Store, UnreadableObjectError } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isLost } from "../hypervisor/status.ts";
import { BY_GROUP } from "../stores.ts";

/** A node that holds machines of a group. */
export interface GroupNode {
  readonly name: string;
  /** Whether its agent gives no sign of life, or its Hypervisor is gone. */
  readonly lost: boolean;
  /** What its agent says of the group; undefined when it has said nothing yet. */
  readonly enforced: Pick<EnforcedGroup, "generation" | "programmedAt"> | undefined;
}

export interface GroupFacts {
  readonly kind: "group";
  readonly group: SecurityGroup;
  /** Names of the machines that are in it, in order. */
  readonly members: readonly string[];
  /** Nodes that hold machines of it, in order of their names. */
  readonly nodes: readonly GroupNode[];
  /** Names of groups that its rules speak of and that do not exist, in order. */
  readonly missingGroups: readonly string[];
  /** Machines of its namespace that exist and cannot be understood: they may be in it. */
  readonly unreadable: number;
  /** Time since this process last wrote the status, in ms; undefined when it has not. */
  readonly sinceWriteMs: number | undefined;
}

/** There is no group default, and machines that would be in it. */
export interface MissingDefaultFacts {
  readonly kind: "default-missing";
  readonly namespace: string;
}

export const observeGroup = (
  stores: Stores,
  key: ObjectKey,
  sinceWriteMs: (uid: string) => number | undefined,
): GroupFacts | MissingDefaultFacts | undefined => {
  const group = stores.securityGroups.get(key);
  if (group === undefined) return observeMissing(stores, key);
  const machines = stores.virtualMachines.byIndex(BY_GROUP, formatKey(key));
  return {
    kind: "group",
    group,
    members: machines.map(({ metadata }) => metadata.name).toSorted(),
    nodes: nodesOf(machines).map((name) => observeNode(stores, name, group.metadata.uid)),
    missingGroups: remoteGroupsOf(group.spec)
      .filter((name) => find(stores.securityGroups, { ...key, name }) === undefined)
      .toSorted(),
    unreadable: stores.virtualMachines.unreadable().filter((machine) => isBeside(machine.key, key)).length,
    sinceWriteMs: sinceWriteMs(group.metadata.uid),
  };
};

const isBeside = (machine: ObjectKey, group: ObjectKey): boolean => machine.namespace === group.namespace;

/** A machine that is about to go makes no group: its namespace may be going with it. */
const observeMissing = (stores: Stores, key: ObjectKey): MissingDefaultFacts | undefined => {
  if (key.name !== DEFAULT_GROUP || key.namespace === undefined) return undefined;
  const wanted = stores.virtualMachines
    .byIndex(BY_GROUP, formatKey(key))
    .some(({ metadata }) => metadata.deletionTimestamp === undefined);
  return wanted ? { kind: "default-missing", namespace: key.namespace } : undefined;
};

/** "unreadable": it exists and cannot be understood. */
const find = <T extends KubernetesObject>(store: Store<T>, key: ObjectKey): T | "unreadable" | undefined => {
  try {
    return store.get(key);
  } catch (error) {
    if (error instanceof UnreadableObjectError) return "unreadable";
    throw error;
  }
};

/** Where the rules of these machines are, also of those that are switched off. */
const nodesOf = (machines: readonly VirtualMachine[]): readonly string[] =>
  [
    ...new Set(machines.flatMap((machine) => (isOnNode(machine) ? (machine.status?.nodeName ?? []) : []))),
  ].toSorted();

const isOnNode = ({ status }: VirtualMachine): boolean =>
  status?.allocation !== undefined && !isTrue(status.conditions, "Released");

/** A Hypervisor that cannot be understood says nothing, as one that is lost. */
const observeNode = (stores: Stores, name: string, uid: string): GroupNode => {
  const hypervisor = find(stores.hypervisors, { name });
  if (hypervisor === undefined || hypervisor === "unreadable")
    return { name, lost: true, enforced: undefined };
  const enforced = hypervisor.status?.securityGroups?.find((entry) => entry.uid === uid);
  return { name, lost: isLost(hypervisor), enforced };
};
