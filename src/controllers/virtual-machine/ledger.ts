import type { VirtualMachine, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import type { Store } from "../../kube/index.ts";
import { parseAddress } from "../../api/ipv4.ts";
import { parseQuantity } from "../../api/quantity.ts";
import { addResources, noResources, type Resources, subtractResources } from "../scheduler/types.ts";
import { BY_UID } from "../stores.ts";
import type { Reservations } from "./reservations.ts";
import { takenBy } from "./size.ts";

/** What machines and Volumes have been given, at one moment. */
export interface Usage {
  resourcesOn(node: string): Resources;
  /** Disk given out in storage pools of that name, on all nodes, in MiB. */
  diskIn(pool: string): number;
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

interface LedgerStores {
  readonly virtualMachines: Store<VirtualMachine>;
  readonly volumes: Store<Volume>;
}

/** Make it before the stores are run, or over stores in sync. */
export const createLedger = (
  { virtualMachines: machines, volumes }: LedgerStores,
  reservations: Reservations,
): Ledger => {
  const shown = new Count();
  follow(machines, (machine, sign) => shown.addMachine(machine, sign));
  follow(volumes, (volume, sign) => shown.addVolume(volume, sign));
  return {
    usage: () => {
      reservations.settle((vmUid) => machines.byIndex(BY_UID, vmUid)[0]);
      const reserved = new Count();
      for (const held of reservations.list().values()) {
        reserved.addResources(held.nodeName, held.kind === "placement" ? held.resources : held.growth, 1);
        if (held.kind === "placement") reserved.addInterfaces(held.allocation.interfaces, 1);
      }
      return {
        resourcesOn: (node) => addResources(shown.resourcesOn(node), reserved.resourcesOn(node)),
        diskIn: (pool) => shown.diskIn(pool) + reserved.diskIn(pool),
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

/** Counts what is there and what comes, and takes back what goes. */
const follow = <T extends VirtualMachine | Volume>(
  store: Store<T>,
  add: (object: T, sign: 1 | -1) => void,
): void => {
  for (const object of store.list()) add(object, 1);
  store.onChange(({ before, after, unreadable }) => {
    if (unreadable) return;
    if (before !== undefined) add(before, -1);
    if (after !== undefined) add(after, 1);
  });
};

/** Sums. Addresses are counted, not only known, so that the end of one of two holders does not free them. */
class Count {
  readonly macAddresses = new Map<string, number>();
  readonly #nodes = new Map<string, Resources>();
  readonly #pools = new Map<string, number>();
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

  diskIn(pool: string): number {
    return this.#pools.get(pool) ?? 0;
  }

  /** @param sign 1: the machine is there, -1: it is not any more */
  addMachine(machine: VirtualMachine, sign: 1 | -1): void {
    const { nodeName = "", allocation } = machine.status ?? {};
    if (allocation === undefined) return;
    this.addResources(nodeName, takenBy(machine), sign);
    this.addInterfaces(allocation.interfaces, sign);
  }

  /** A Volume takes room from the moment that it has a node. */
  addVolume(volume: Volume, sign: 1 | -1): void {
    const nodeName = volume.status?.nodeName;
    if (nodeName === undefined) return;
    const disks = { [volume.spec.pool]: volumeSizeMiB(volume) };
    this.addResources(nodeName, { ...noResources, disks }, sign);
  }

  addResources(nodeName: string, resources: Resources, sign: 1 | -1): void {
    const combine = sign === 1 ? addResources : subtractResources;
    this.#nodes.set(nodeName, combine(this.resourcesOn(nodeName), resources));
    for (const [pool, sizeMiB] of Object.entries(resources.disks)) tally(this.#pools, pool, sign * sizeMiB);
  }

  addInterfaces(interfaces: VirtualMachineAllocation["interfaces"], sign: 1 | -1): void {
    for (const { network, address, macAddress, allowedAddresses } of interfaces) {
      tally(countsOf(this.#networks, network), parseAddress(address), sign);
      for (const allowed of allowedAddresses)
        tally(countsOf(this.#allowed, network), parseAddress(allowed), sign);
      tally(this.macAddresses, macAddress, sign);
    }
  }
}

const MIB = 2 ** 20;

/** What the Volume takes, or will when it has grown. */
export const volumeSizeMiB = ({ spec, status }: Volume): number =>
  Math.max(status?.sizeMiB ?? 0, Math.ceil(parseQuantity(spec.size) / MIB));

const countsOf = (networks: Map<string, Map<bigint, number>>, network: string): Map<bigint, number> => {
  const counts = networks.get(network) ?? new Map<bigint, number>();
  networks.set(network, counts);
  return counts;
};

const tally = <K>(counts: Map<K, number>, key: K, change: number): void => {
  const count = (counts.get(key) ?? 0) + change;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
};
