import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import { contains, formatAddress, overlap, parseAddress, parseCidr } from "../../api/ipv4.ts";

/** Addresses without a gap, ends included. */
interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** The addresses that FloatingIPs can have of one pool. */
export interface PoolAddresses {
  /** In order, and each address in one of them only. */
  readonly ranges: readonly Range[];
  /** Inside a range and yet never given out. */
  readonly excluded: ReadonlySet<bigint>;
  /** How many addresses there are in all. */
  readonly capacity: number;
}

/** Works out which addresses there are. Blocks that overlap count once. */
export const poolAddresses = ({ cidrs, exclude }: FloatingIpPool["spec"]): PoolAddresses => {
  const ranges = merge(cidrs.map(parseCidr));
  const excluded = new Set(exclude.map(parseAddress).filter((address) => isInside(ranges, address)));
  const size = ranges.reduce((sum, { first, last }) => sum + Number(last - first + 1n), 0);
  return { ranges, excluded, capacity: size - excluded.size };
};

const merge = (blocks: readonly Range[]): readonly Range[] => {
  const merged: Range[] = [];
  for (const { first, last } of blocks.toSorted((a, b) => (a.first < b.first ? -1 : 1))) {
    const previous = merged.at(-1);
    if (previous === undefined || first > previous.last) merged.push({ first, last });
    else if (last > previous.last) merged.splice(-1, 1, { first: previous.first, last });
  }
  return merged;
};

const isInside = (ranges: readonly Range[], address: bigint): boolean =>
  ranges.some(({ first, last }) => first <= address && address <= last);

/** Can a FloatingIP have this address of the pool? */
export const hasAddress = ({ ranges, excluded }: PoolAddresses, address: string): boolean => {
  const number = parseAddress(address);
  return isInside(ranges, number) && !excluded.has(number);
};

/** The lowest address that is not taken, or undefined when there is none. */
export const lowestFree = (
  { ranges, excluded }: PoolAddresses,
  isTaken: (address: string) => boolean,
): string | undefined => {
  for (const { first, last } of ranges)
    for (let address = first; address <= last; address += 1n) {
      const text = formatAddress(address);
      if (!excluded.has(address) && !isTaken(text)) return text;
    }
  return undefined;
};

/** Do the two pools have blocks with addresses in common? */
export const poolsOverlap = (a: FloatingIpPool, b: FloatingIpPool): boolean =>
  a.spec.cidrs.some((left) => b.spec.cidrs.some((right) => overlap(parseCidr(left), parseCidr(right))));

/** Is the address in a block of the pool, given out or not? */
export const covers = ({ spec }: FloatingIpPool, address: string): boolean =>
  spec.cidrs.some((cidr) => contains(parseCidr(cidr), parseAddress(address)));
