/** Pieces of rules, in the words of iptables(8). */

/** All taps of Vireo; also those that have no chains (yet, or any more). */
export const FROM_GUEST = "-i vtap+";
export const TO_GUEST = "-o vtap+";
/** All tunnels of Vireo. */
export const FROM_TUNNEL = "-i vvx+";
export const TO_TUNNEL = "-o vvx+";

export const ECHO_REQUEST = "-p icmp -m icmp --icmp-type 8";

/** One word of a rule. The values are checked long before; that none can become a rule is checked here. */
export const word = (value: string): string => {
  if (!/^[A-Za-z0-9.:-]+$/.test(value)) {
    throw new RangeError(`not a word for an iptables rule: ${JSON.stringify(value)}`);
  }
  return value;
};

/** A number in the notation of marks and device groups. */
export const hexadecimal = (value: number): string => `0x${value.toString(16)}`;

export const sortedUnique = (values: Iterable<string>): readonly string[] => [...new Set(values)].sort();

/** Sorted by key, each once. Throws RangeError when two that differ have one key. */
export const uniqueByKey = <T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  what: string,
): readonly T[] => {
  const byKey = new Map<string, T>();
  for (const item of items) {
    const key = keyOf(item);
    const known = byKey.get(key);
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(item)) {
      throw new RangeError(`${what} ${key} is wanted in two ways: ${JSON.stringify([known, item])}`);
    }
    byKey.set(key, item);
  }
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
};
