/**
 * IPv4 addresses as integers. BigInt, although 32 bits fit in a number: shifts
 * and masks of a number are signed in JavaScript, and IPv6 will need it.
 */

const WIDTH = 32n;
const ALL_ONES = (1n << WIDTH) - 1n;

/** "10.0.0.1" as an integer. Throws RangeError when it is not a dotted quad. */
export const parseAddress = (text: string): bigint => {
  const octets = text.split(".");
  if (octets.length !== 4 || !octets.every((octet) => /^(0|[1-9][0-9]{0,2})$/.test(octet)))
    throw new RangeError(`"${text}" is not an IPv4 address`);
  return octets.reduce((sum, octet) => {
    if (Number(octet) > 255) throw new RangeError(`"${text}" is not an IPv4 address`);
    return (sum << 8n) | BigInt(octet);
  }, 0n);
};

/** The inverse of parseAddress. */
export const formatAddress = (address: bigint): string =>
  [24n, 16n, 8n, 0n].map((shift) => String((address >> shift) & 255n)).join(".");

/** A block of addresses, ends included. */
export interface AddressBlock {
  /** The network address. */
  readonly first: bigint;
  /** The broadcast address. */
  readonly last: bigint;
  readonly prefixLength: number;
}

/** "10.0.0.0/24" as a block; host bits are ignored. Throws RangeError when it is not IPv4 in CIDR notation. */
export const parseCidr = (text: string): AddressBlock => {
  const [address = "", length = "", ...rest] = text.split("/");
  if (rest.length > 0 || !/^[0-9]{1,2}$/.test(length) || Number(length) > 32)
    throw new RangeError(`"${text}" is not a network such as 10.0.0.0/24`);
  const hostMask = ALL_ONES >> BigInt(length);
  const first = parseAddress(address) & (ALL_ONES ^ hostMask);
  return { first, last: first | hostMask, prefixLength: Number(length) };
};

export const contains = (block: AddressBlock, address: bigint): boolean =>
  block.first <= address && address <= block.last;

/** Do the two have an address in common? */
export const overlap = (a: AddressBlock, b: AddressBlock): boolean => a.first <= b.last && b.first <= a.last;
