import { type AddressBlock, contains, formatAddress, parseAddress, parseCidr } from "../../api/ipv4.ts";

/** The part of a Network's spec that says which addresses there are. */
export interface PoolSpec {
  readonly cidr: string;
  readonly gateway?: string | undefined;
  readonly reservedAddresses: readonly string[];
}

/** The addresses that the machines of one Network can have. */
export interface AddressPool {
  readonly block: AddressBlock;
  readonly gateway: bigint;
  /** Inside the block and yet never given out: network, broadcast, gateway, reserved. */
  readonly excluded: ReadonlySet<bigint>;
  /** How many addresses machines can have in all. */
  readonly capacity: number;
}

/** Works the pool out. The gateway is the first usable address unless the Network names one. */
export const addressPool = (spec: PoolSpec): AddressPool => {
  const block = parseCidr(spec.cidr);
  const gateway = spec.gateway === undefined ? block.first + 1n : parseAddress(spec.gateway);
  const named = [block.first, block.last, gateway, ...spec.reservedAddresses.map(parseAddress)];
  const excluded = new Set(named.filter((address) => contains(block, address)));
  const capacity = Number(block.last - block.first + 1n) - excluded.size;
  return { block, gateway, excluded, capacity: Math.max(capacity, 0) };
};

/**
 * The lowest address of the pool that nobody has, or undefined when it is
 * exhausted.
 */
export const lowestFreeAddress = (
  pool: AddressPool,
  isTaken: (address: bigint) => boolean,
): string | undefined => {
  for (let address = pool.block.first; address <= pool.block.last; address += 1n) {
    if (!pool.excluded.has(address) && !isTaken(address)) return formatAddress(address);
  }
  return undefined;
};
