import type { Network } from "../../api/network.ts";
import { formatAddress, parseAddress } from "../../api/ipv4.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Stores } from "../context.ts";
import { chooseMacAddress } from "../ipam/mac.ts";
import { addressPool, lowestFreeAddress } from "../ipam/pool.ts";
import { BY_WANTED_ADDRESS } from "../stores.ts";
import type { Usage } from "./ledger.ts";

/** A network of a machine that waits, and what the machine could have in it. */
export interface NetworkUse {
  readonly name: string;
  readonly network: Network | undefined;
  /** The address that the machine asks for. */
  readonly wantedAddress?: string | undefined;
  /**
   * The address that the machine asks for, if nobody has it; otherwise the lowest
   * that nobody has. Undefined when there is none, or no Network.
   */
  readonly freeAddress: string | undefined;
  /** The hardware address that the machine would have in it. */
  readonly macAddress: string;
  /** Further addresses that the machine may send from. */
  readonly allowedAddresses: readonly string[];
  /** Those of allowedAddresses that another machine was given as its own. */
  readonly takenAddresses: readonly string[];
}

export const observeNetworkUse = (
  stores: Stores,
  usage: Usage,
  vmUid: string,
  { name, address, allowedAddresses }: VirtualMachine["spec"]["networks"][number],
): NetworkUse => {
  const network = stores.networks.get({ name });
  return {
    name,
    network,
    wantedAddress: address,
    freeAddress: network && freeAddressOf(stores, usage, network, { address, allowedAddresses }),
    macAddress: chooseMacAddress(vmUid, name, (macAddress) => usage.hasMacAddress(macAddress)),
    allowedAddresses,
    takenAddresses: allowedAddresses.filter((allowed) => usage.hasAddress(name, parseAddress(allowed))),
  };
};

/** One that a machine asks for by name, and has not got yet, is left to it while there are others. */
const freeAddressOf = (
  stores: Stores,
  usage: Usage,
  network: Network,
  {
    address,
    allowedAddresses,
  }: Pick<VirtualMachine["spec"]["networks"][number], "address" | "allowedAddresses">,
): string | undefined => {
  const { name } = network.metadata;
  const isOthers = (candidate: bigint): boolean =>
    usage.hasAddress(name, candidate) || usage.isAllowedAddress(name, candidate);
  if (address !== undefined) return isOthers(parseAddress(address)) ? undefined : address;
  const own = new Set(allowedAddresses.map(parseAddress));
  const isTaken = (candidate: bigint): boolean => own.has(candidate) || isOthers(candidate);
  const isWanted = (candidate: bigint): boolean =>
    stores.virtualMachines.byIndex(BY_WANTED_ADDRESS, `${name}/${formatAddress(candidate)}`).length > 0;
  const pool = addressPool(network.spec);
  return (
    lowestFreeAddress(pool, (candidate) => isTaken(candidate) || isWanted(candidate)) ??
    lowestFreeAddress(pool, isTaken)
  );
};
