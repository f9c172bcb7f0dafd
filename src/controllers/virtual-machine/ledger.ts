import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Store } from "../../kube/index.ts";
import { parseAddress } from "../../api/ipv4.ts";
import { addResources, noResources, type Resources, subtractResources } from "../scheduler/types.ts";
import { BY_UID } from "../stores.ts";
import type { Placement, Reservations } from "./reservations.ts";

/** What machines have been given, at one moment. */
export interface Usage {
  resourcesOn(node: string): Resources;
  hasAddress(network: string, address: bigint): boolean;
  /** May a machine send from it beside its own? Several may share one. */
  isAllowedAddress(network: string, address: bigint): boolean;
  hasMacAddress(macAddress: string): boolean;
}

/**
 * The books: what the store shows, kept up with each of its changes, and what
 * is reserved on top.
 *
 * A machine that exists but cannot be understood any more still has what it
 * was last seen to have.
 */
export interface Ledger {
  /** Good until something is awaited. */
  usage(): Usage;
}

/** Make it before the store is run, or over a store in sync. */
export const createLedger = (machines: Store<VirtualMachine>, reservations: Reservations): Ledger => {
  const shown = new Count();
  for (const machine of machines.list()) shown.change(machine, 1);
  machines.onChange(({ before, after, unreadable }) => {
    if (unreadable) return;
    if (before !== undefined) shown.change(before, -1);
    if (after !== undefined) shown.change(after, 1);
  });
  return {
    usage: () => {
      reservations.settle((vmUid) => machines.byIndex(BY_UID, vmUid)[0]);
      const reserved = new Count();
      for (const { nodeName, allocation } of reservations.list().values())
        reserved.add(nodeName, allocation, 1);
      return {
        resourcesOn: (node) => addResources(shown.resourcesOn(node), reserved.resourcesOn(node)),
        hasAddress: (network, address) =>
          shown.hasAddress(network, address) || reserved.hasAddress(network, address),
        isAllowedAddress: (network, address) =>
          shown.isAllowedAddress(network, address) || reserved.isAllowedAddress(network, address),
        hasMacAddress: (macAddress) =>
          shown.macAddresses.has(macAddress) || reserved.macAddresses.has(macAddress),
      };
    },
  };
};

/** Sums. Addresses are counted, not only known, so that the end of one of two holders does not free them. */
class Count {
  readonly macAddresses = new Map<string, number>();
  readonly #nodes = new Map<string, Resources>();
  readonly #networks = new Map<string, Map<bigint, number>>();
  readonly #allowed = new Map<string, Map<bigint, number>>();

  resourcesOn(node: string): Resources {
    return this.#nodes.get(node) ?? noResources;
  }

  hasAddress(network: string, address: bigint): boolean {
    return this.#networks.get(network)?.has(address) ?? false;
  }

  isAllowedAddress(network: string, address: bigint): boolean {
    return this.#allowed.get(network)?.has(address) ?? false;
  }

  /** @param sign 1: the machine is there, -1: it is not any more */
  change({ status }: VirtualMachine, sign: 1 | -1): void {
    if (status?.allocation !== undefined) this.add(status.nodeName ?? "", status.allocation, sign);
  }

  add(nodeName: string, { flavor, interfaces }: Placement["allocation"], sign: 1 | -1): void {
    const combine = sign === 1 ? addResources : subtractResources;
    this.#nodes.set(nodeName, combine(this.resourcesOn(nodeName), flavor));
    for (const { network, address, macAddress, allowedAddresses } of interfaces) {
      tally(countsOf(this.#networks, network), parseAddress(address), sign);
      for (const allowed of allowedAddresses)
        tally(countsOf(this.#allowed, network), parseAddress(allowed), sign);
      tally(this.macAddresses, macAddress, sign);
    }
  }
}

const countsOf = (networks: Map<string, Map<bigint, number>>, network: string): Map<bigint, number> => {
  const counts = networks.get(network) ?? new Map<bigint, number>();
  networks.set(network, counts);
  return counts;
};

const tally = <K>(counts: Map<K, number>, key: K, sign: 1 | -1): void => {
  const count = (counts.get(key) ?? 0) + sign;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
};
