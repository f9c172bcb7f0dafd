/** Blocks of IPv4 addresses, in the one way of writing that ipset has for each. */

export interface Block {
  readonly first: number;
  /** Length of the prefix: 0 to 32. */
  readonly length: number;
}

const ADDRESS = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/;
const LENGTH = /^(0|[1-9]\d?)$/;

const sizeOf = (length: number): number => 2 ** (32 - length);

const parseNumber = (address: string): number | undefined => {
  const bytes = ADDRESS.exec(address)?.slice(1).map(Number);
  if (bytes === undefined || bytes.some((byte) => byte > 255)) return undefined;
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
};

/** Reads an address or a CIDR, whose host bits are passed over; undefined for anything else. */
export const parseBlock = (text: string): Block | undefined => {
  const [address = "", length = "32", ...rest] = text.split("/");
  const number = parseNumber(address);
  if (number === undefined || !LENGTH.test(length) || Number(length) > 32 || rest.length > 0)
    return undefined;
  const size = sizeOf(Number(length));
  return { first: Math.floor(number / size) * size, length: Number(length) };
};

export const isAddress = (text: string): boolean => parseNumber(text) !== undefined;

/** The address, checked. Throws RangeError. */
export const checkedAddress = (text: string): string => {
  if (!isAddress(text)) throw new RangeError(`not an IPv4 address: ${JSON.stringify(text)}`);
  return text;
};

/** A block of one address is written as the address. */
export const renderBlock = ({ first, length }: Block): string => {
  const bytes = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return length === 32 ? bytes.join(".") : `${bytes.join(".")}/${length}`;
};

/** Whether all addresses of `inner` are in `outer`. */
export const holds = (outer: Block, inner: Block): boolean =>
  outer.length <= inner.length &&
  inner.first >= outer.first &&
  inner.first < outer.first + sizeOf(outer.length);

/** ipset has no block of all addresses: it is two halves there. */
const halves = (block: Block): readonly Block[] =>
  block.length > 0
    ? [block]
    : [
        { first: 0, length: 1 },
        { first: 2 ** 31, length: 1 },
      ];

/** Addresses in one of some blocks and in none of others. */
export interface AddressRange {
  readonly blocks: readonly Block[];
  readonly except: readonly Block[];
}

/**
 * The range, or undefined when it is empty. Blocks inside an exception are
 * left out: what remains can be decided by the smallest block that holds an
 * address, as hash:net does. A block that cannot be read holds nothing; an
 * exception that cannot be read leaves nothing.
 */
export const addressRange = (
  cidrs: readonly string[],
  exceptions: readonly string[],
): AddressRange | undefined => {
  const parsed = exceptions.map(parseBlock);
  const known = parsed.filter((block) => block !== undefined);
  if (known.length < parsed.length) return undefined;
  const blocks = cidrs
    .flatMap((cidr) => parseBlock(cidr) ?? [])
    .filter((block) => !known.some((exception) => holds(exception, block)));
  const except = known.filter((exception) => blocks.some((block) => holds(block, exception)));
  return blocks.length === 0 ? undefined : { blocks, except };
};

/** Whether the address is in the range. */
export const rangeHolds = ({ blocks, except }: AddressRange, address: string): boolean => {
  const block = parseBlock(address);
  const isIn = (outer: Block): boolean => block !== undefined && holds(outer, block);
  return blocks.some(isIn) && !except.some(isIn);
};

/** Entries of a hash:net set for the range, sorted and without repetition. */
export const rangeEntries = ({ blocks, except }: AddressRange): readonly string[] => {
  const positive = blocks.flatMap(halves).map(renderBlock);
  const negative = except.flatMap(halves).map((block) => `${renderBlock(block)} nomatch`);
  return [...new Set([...positive, ...negative])].sort();
};
