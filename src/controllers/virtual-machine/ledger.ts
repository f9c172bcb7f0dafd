import type { VirtualMachine, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import type { Store } from "../../kube/index.ts";
import { parseAddress } from "../../api/ipv4.ts";
import { addResources, noResources, type Resources, subtractResources } from "../scheduler/types.ts";
import { BY_UID } from "../stores.ts";
import { type Claim, claimsOf, type Flight, type SizedVolume } from "../virtual-machine-migration/claims.ts";
import type { Reservations } from "./reservations.ts";
import { takenBy, volumeSizeMiB } from "./size.ts";

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

/**
 * Make it before the stores are run, or over stores in sync.
 *
 * @param flights machines that are on their way to another node
 */
export const createLedger = (
  { virtualMachines: machines, volumes }: LedgerStores,
  reservations: Reservations,
  flights: () => Iterable<Flight> = () => [],
): Ledger => {
  const shown = new Count();
  follow(machines, (machine, sign) => shown.addMachine(machine, sign));
  followVolumes({ virtualMachines: machines, volumes }, shown);
  const machineOf = (vmUid: string) => machines.byIndex(BY_UID, vmUid)[0];
  return {
    usage: () => {
      reservations.settle(machineOf);
      const reserved = new Count();
      for (const flight of flights()) {
        const machine = machineOf(flight.machineUid);
        if (machine !== undefined) reserved.addClaims(claimsOf(flight, machine, volumesOf(volumes, machine)));
      }
      for (const held of reservations.list().values()) {
        reserved.addResources(held.nodeName, held.kind === "resize" ? held.growth : held.resources, 1);
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

/** The Volumes that the machine was given, which go where it goes. */
const volumesOf = (volumes: Store<Volume>, { status }: VirtualMachine): readonly SizedVolume[] =>
  (status?.allocation?.volumes ?? [])
    .flatMap(({ uid }) => volumes.byIndex(BY_UID, uid))
    .map((volume) => ({
      nodeName: volume.status?.nodeName ?? status?.nodeName,
      pool: volume.spec.pool,
      sizeMiB: volumeSizeMiB(volume),
    }));

/** Counts what is there and what comes, and takes back what goes. */
const follow = (store: Store<VirtualMachine>, add: (machine: VirtualMachine, sign: 1 | -1) => void): void => {
  for (const machine of store.list()) add(machine, 1);
  store.onChange(({ before, after, unreadable }) => {
    if (unreadable) return;
    if (before !== undefined) add(before, -1);
    if (after !== undefined) add(after, 1);
  });
};

/**
 * Volumes take room on the node that has them; and on that of a machine that
 * was given one which has no node yet, since it is about to be made there.
 */
const followVolumes = ({ virtualMachines, volumes }: LedgerStores, shown: Count): void => {
  const counted = new Map<string, { readonly nodeName: string; readonly resources: Resources }>();
  const count = (uid: string): void => {
    if (volumes.unreadable().some((unreadable) => unreadable.uid === uid)) return;
    const before = counted.get(uid);
    if (before !== undefined) shown.addResources(before.nodeName, before.resources, -1);
    counted.delete(uid);
    const [volume] = volumes.byIndex(BY_UID, uid);
    const nodeName = volume?.status?.nodeName ?? nodeOfHolder(virtualMachines, volume);
    if (volume === undefined || nodeName === undefined) return;
    const resources = { ...noResources, disks: { [volume.spec.pool]: volumeSizeMiB(volume) } };
    shown.addResources(nodeName, resources, 1);
    counted.set(uid, { nodeName, resources });
  };
  for (const { metadata } of volumes.list()) count(metadata.uid);
  volumes.onChange(({ before, after }) => {
    for (const uid of new Set([before, after].flatMap((volume) => volume?.metadata.uid ?? []))) count(uid);
  });
  virtualMachines.onChange(({ before, after, unreadable }) => {
    if (unreadable || before?.status?.allocation?.volumes === after?.status?.allocation?.volumes) return;
    const given = [before, after].flatMap((machine) => machine?.status?.allocation?.volumes ?? []);
    for (const uid of new Set(given.map((volume) => volume.uid))) count(uid);
  });
};

const nodeOfHolder = (machines: Store<VirtualMachine>, volume: Volume | undefined): string | undefined => {
  const holder = volume?.status?.attachedTo?.uid;
  const [machine] = holder === undefined ? [] : machines.byIndex(BY_UID, holder);
  const isGiven = machine?.status?.allocation?.volumes?.some(({ uid }) => uid === volume?.metadata.uid);
  return isGiven === true ? machine?.status?.nodeName : undefined;
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

  addResources(nodeName: string, resources: Resources, sign: 1 | -1): void {
    const combine = sign === 1 ? addResources : subtractResources;
    this.#nodes.set(nodeName, combine(this.resourcesOn(nodeName), resources));
    for (const [pool, sizeMiB] of Object.entries(resources.disks)) tally(this.#pools, pool, sign * sizeMiB);
  }

  /** The files of a shared pool are there once, whichever nodes keep room for the machine: only nodes are counted. */
  addClaims(claims: readonly Claim[]): void {
    for (const { nodeName, resources } of claims)
      this.#nodes.set(nodeName, addResources(this.resourcesOn(nodeName), resources));
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
