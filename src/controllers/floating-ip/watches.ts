import type { FloatingIp } from "../../api/floating-ip.ts";
import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Change, formatKey, isMoreThanStatus, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isLost } from "../hypervisor/status.ts";
import {
  BY_ADDRESS,
  BY_FLOATING_NODE,
  BY_NODE,
  BY_SELECTOR,
  BY_TARGET,
  BY_WAITING,
  WAITING,
} from "../stores.ts";
import { isSelected } from "./observe.ts";

/**
 * Which FloatingIPs a change concerns. One that waits is looked at again when
 * something changes that it may be waiting for, and never by polling.
 */

/** The FloatingIP itself; those with the same address; and when it gives something back, all that wait for an address. */
export const floatingIpsAfterFloatingIp = (
  stores: Stores,
  { key, before, after, unreadable }: Change<FloatingIp>,
): readonly ObjectKey[] => {
  const isGone = before !== undefined && before.metadata.uid !== after?.metadata.uid;
  const [then, now] = [before?.status?.address, after?.status?.address];
  const sharers = [then, now].flatMap((address) =>
    address === undefined || (then === now && !isGone)
      ? []
      : stores.floatingIps.byIndex(BY_ADDRESS, address).map(keyOf),
  );
  return [key, ...sharers, ...(isGone || unreadable ? waiting(stores) : [])];
};

/** Those that name the machine, have it, or choose it by its labels, now or before. */
export const floatingIpsAfterMachine = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachine>,
): readonly ObjectKey[] => {
  const named = stores.floatingIps.byIndex(BY_TARGET, formatKey(key));
  const selecting = stores.floatingIps
    .byIndex(BY_SELECTOR, key.namespace ?? "")
    .filter(({ spec: { selector } }) =>
      [before, after].some(
        (machine) => selector !== undefined && machine !== undefined && isSelected(selector, machine),
      ),
    );
  return [...named, ...selecting].map(keyOf);
};

/** A node that comes, goes, is lost or is back concerns what is on it. */
export const floatingIpsAfterHypervisor = (
  stores: Stores,
  { key, before, after }: Change<Hypervisor>,
): readonly ObjectKey[] => {
  const fate = [before, after].map((node) => (node === undefined ? "none" : isLost(node) ? "lost" : "alive"));
  return fate[0] === fate[1] ? [] : floatingIpsAroundNode(stores, key.name);
};

/** Those that the node answers for, is to answer for, or has a machine for. */
export const floatingIpsAroundNode = (stores: Stores, node: string): readonly ObjectKey[] => [
  ...stores.floatingIps.byIndex(BY_FLOATING_NODE, node).map(keyOf),
  ...stores.virtualMachines
    .byIndex(BY_NODE, node)
    .flatMap((machine) =>
      floatingIpsAfterMachine(stores, { key: keyOf(machine), after: machine, unreadable: false }),
    ),
];

/** A pool that comes, goes or changes may have an address for those that wait. */
export const floatingIpsAfterPool = (stores: Stores, change: Change<FloatingIpPool>): readonly ObjectKey[] =>
  isMoreThanStatus(change)
    ? stores.floatingIps
        .byIndex(BY_WAITING, WAITING)
        .filter(({ spec }) => spec.pool === change.key.name)
        .map(keyOf)
    : [];

const waiting = (stores: Stores): readonly ObjectKey[] =>
  stores.floatingIps.byIndex(BY_WAITING, WAITING).map(keyOf);
