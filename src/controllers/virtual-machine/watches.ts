import type { KubernetesObject } from "../../api/meta.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Network } from "../../api/network.ts";
import type { SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Change, formatKey, isMoreThanStatus, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isLost } from "../hypervisor/status.ts";
import { BY_GROUP, BY_NODE, BY_PLACEMENT, UNPLACED } from "../stores.ts";

/**
 * Which machines a change concerns. A machine that waits is looked at again when
 * something changes that it may be waiting for, and never by polling.
 */

/** The machine itself; and when it goes, all that wait for what it had. */
export const machinesAfterMachine = (
  stores: Stores,
  change: Change<VirtualMachine>,
): readonly ObjectKey[] => {
  const { key, before, after, unreadable } = change;
  const isGone =
    !unreadable && before?.status?.allocation !== undefined && before.metadata.uid !== after?.metadata.uid;
  return isGone ? [key, ...waitingMachines(stores)] : [key];
};

/**
 * A node that comes, goes, is lost or is back concerns its machines; any change
 * of it may be what others wait for: room, a label, an image, Ready.
 */
export const machinesAfterHypervisor = (stores: Stores, change: Change<Hypervisor>): readonly ObjectKey[] => {
  const { key, before, after } = change;
  const fate = [before, after].map((node) => (node === undefined ? "none" : isLost(node) ? "lost" : "alive"));
  const own = fate[0] === fate[1] ? [] : stores.virtualMachines.byIndex(BY_NODE, key.name).map(keyOf);
  return [...own, ...waitingMachines(stores)];
};

/** An object that machines refer to by name, in their own namespace or cluster-wide. */
export const machinesAfterReference =
  <T extends KubernetesObject>(
    stores: Stores,
    refersTo: (machine: VirtualMachine, name: string) => boolean,
  ): ((change: Change<T>) => readonly ObjectKey[]) =>
  ({ key }) =>
    unplaced(stores)
      .filter(({ metadata }) => key.namespace === undefined || key.namespace === metadata.namespace)
      .filter((machine) => refersTo(machine, key.name))
      .map(keyOf);

/**
 * A Network that comes, goes or is changed may end an overlap, also of others. Of
 * its status only the number matters, which machines wait for; the count of its
 * addresses changes with each machine.
 */
export const machinesAfterNetwork = (stores: Stores, change: Change<Network>): readonly ObjectKey[] => {
  const { before, after } = change;
  const isNumbered = before?.status?.vni !== after?.status?.vni;
  return isNumbered || isMoreThanStatus(change) ? waitingMachines(stores) : [];
};

/** A group that comes or goes concerns all machines that are in it, on a node or not. */
export const machinesAfterGroup = (
  stores: Stores,
  { key, before, after }: Change<SecurityGroup>,
): readonly ObjectKey[] =>
  before?.metadata.uid === after?.metadata.uid
    ? []
    : stores.virtualMachines.byIndex(BY_GROUP, formatKey(key)).map(keyOf);

const unplaced = (stores: Stores): readonly VirtualMachine[] =>
  stores.virtualMachines.byIndex(BY_PLACEMENT, UNPLACED);

const waitingMachines = (stores: Stores): readonly ObjectKey[] => unplaced(stores).map(keyOf);
