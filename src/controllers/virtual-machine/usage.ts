import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Store } from "../../kube/index.ts";
import { addResources, noResources, type Resources } from "../scheduler/types.ts";
import type { Placement, Reservations } from "./reservations.ts";

/** What all machines but one have been given. */
export interface Usage {
  resourcesOn(node: string): Resources;
  addressesOf(network: string): ReadonlySet<string>;
  readonly macAddresses: ReadonlySet<string>;
}

const NO_ADDRESSES: ReadonlySet<string> = new Set();

/**
 * Counts what the store shows and what is reserved. It is counted anew for each
 * decision: a few milliseconds for ten thousand machines, and no running total
 * that could drift.
 *
 * @param exceptUid the machine that is being decided on
 */
export const observeUsage = (
  machines: Store<VirtualMachine>,
  reservations: Reservations,
  exceptUid: string,
): Usage => {
  const stored = machines.list();
  reservations.settle(finder(stored, reservations));
  const count = new Count();
  for (const { metadata, status } of stored)
    if (metadata.uid !== exceptUid && status?.allocation !== undefined)
      count.add({ nodeName: status.nodeName ?? "", allocation: status.allocation });
  for (const [vmUid, placement] of reservations.list()) if (vmUid !== exceptUid) count.add(placement);
  return {
    resourcesOn: (node) => count.nodes.get(node) ?? noResources,
    addressesOf: (network) => count.networks.get(network) ?? NO_ADDRESSES,
    macAddresses: count.macAddresses,
  };
};

/** Machines are stored by name and reserved for by uid; few are reserved for at a time. */
const finder = (stored: readonly VirtualMachine[], reservations: Reservations) => {
  const reserved = reservations.list();
  const found = new Map(
    stored
      .filter(({ metadata }) => reserved.has(metadata.uid))
      .map((machine) => [machine.metadata.uid, machine]),
  );
  return (vmUid: string): VirtualMachine | undefined => found.get(vmUid);
};

class Count {
  readonly nodes = new Map<string, Resources>();
  readonly networks = new Map<string, Set<string>>();
  readonly macAddresses = new Set<string>();

  add({ nodeName, allocation }: Pick<Placement, "nodeName" | "allocation">): void {
    this.nodes.set(nodeName, addResources(this.nodes.get(nodeName) ?? noResources, allocation.flavor));
    for (const { network, address, macAddress } of allocation.interfaces) {
      const addresses = this.networks.get(network) ?? new Set();
      this.networks.set(network, addresses.add(address));
      this.macAddresses.add(macAddress);
    }
  }
}
