import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { formatAddress, overlap, parseAddress, parseCidr } from "../../../src/api/ipv4.ts";
import { chooseMacAddress } from "../../../src/controllers/ipam/mac.ts";
import { addressPool, lowestFreeAddress } from "../../../src/controllers/ipam/pool.ts";

const none = (): boolean => false;

const among = (addresses: readonly string[]): ((address: bigint) => boolean) => {
  const taken = new Set(addresses.map(parseAddress));
  return (address) => taken.has(address);
};

const anyAddress = fc.bigInt({ min: 0n, max: 2n ** 32n - 1n });

describe("IPv4 addresses", () => {
  test("are read back as they are written", () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        expect(parseAddress(formatAddress(address))).toBe(address);
      }),
    );
  });

  test.each(["", "10.0.0", "10.0.0.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.-1", "a.b.c.d", " 10.0.0.1"])(
    "%j is not one",
    (text) => expect(() => parseAddress(text)).toThrow(RangeError),
  );

  test.each(["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/-1", "x/8"])(
    "%j is not a network",
    (text) => expect(() => parseCidr(text)).toThrow(RangeError),
  );

  test.each([
    ["10.0.0.0/24", "10.0.1.0/24", false],
    ["10.0.0.0/24", "10.0.0.128/25", true],
    ["10.0.0.0/8", "10.255.255.252/30", true],
    ["0.0.0.0/0", "255.255.255.255/32", true],
    ["192.168.0.0/25", "192.168.0.128/25", false],
  ])("%s and %s overlap: %s", (a, b, expected) => {
    expect(overlap(parseCidr(a), parseCidr(b))).toBe(expected);
    expect(overlap(parseCidr(b), parseCidr(a))).toBe(expected);
  });
});

describe("The pool of a network", () => {
  test.each([
    ["a /24 has all but network, broadcast and gateway", { cidr: "10.0.0.0/24" }, 253, "10.0.0.2"],
    ["a /30 has one address", { cidr: "10.0.0.0/30" }, 1, "10.0.0.2"],
    ["a /8 is counted without being listed", { cidr: "10.0.0.0/8" }, 2 ** 24 - 3, "10.0.0.2"],
    ["a gateway elsewhere frees the first", { cidr: "10.0.0.0/24", gateway: "10.0.0.254" }, 253, "10.0.0.1"],
    [
      "reserved addresses are left out",
      { cidr: "10.0.0.0/24", reservedAddresses: ["10.0.0.2", "10.0.0.3"] },
      251,
      "10.0.0.4",
    ],
    [
      "reserved addresses that are the gateway's or elsewhere do not count twice",
      { cidr: "10.0.0.0/24", reservedAddresses: ["10.0.0.1", "10.0.1.7", "10.0.0.255"] },
      253,
      "10.0.0.2",
    ],
  ])("%s", (_, spec, capacity, first) => {
    const pool = addressPool({ reservedAddresses: [], ...spec });
    expect(pool.capacity).toBe(capacity);
    expect(lowestFreeAddress(pool, none)).toBe(first);
  });

  const anyPool = fc
    .record({
      base: anyAddress,
      prefixLength: fc.integer({ min: 26, max: 30 }),
      gatewayAt: fc.option(fc.bigInt({ min: 0n, max: 63n }), { nil: undefined }),
      reservedAt: fc.array(fc.bigInt({ min: 0n, max: 80n }), { maxLength: 8 }),
    })
    .map(({ base, prefixLength, gatewayAt, reservedAt }) => {
      const block = parseCidr(`${formatAddress(base)}/${prefixLength}`);
      const at = (offset: bigint): string => formatAddress((block.first + offset) % 2n ** 32n);
      const size = block.last - block.first + 1n;
      return addressPool({
        cidr: `${formatAddress(block.first)}/${prefixLength}`,
        ...(gatewayAt !== undefined && { gateway: at(gatewayAt % size) }),
        reservedAddresses: reservedAt.map(at),
      });
    });

  test("gives every address of its capacity once, in order, and none that is excluded", () => {
    fc.assert(
      fc.property(anyPool, (pool) => {
        const given: string[] = [];
        for (;;) {
          const next = lowestFreeAddress(pool, among(given));
          if (next === undefined) break;
          given.push(next);
        }
        const numbers = given.map(parseAddress);
        expect(given).toHaveLength(pool.capacity);
        expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => (a < b ? -1 : 1)));
        expect(numbers.every((address) => address > pool.block.first && address < pool.block.last)).toBe(
          true,
        );
        expect(numbers.some((address) => pool.excluded.has(address))).toBe(false);
      }),
    );
  });

  test("gives an address that came back before any higher one, in whatever order the rest is known", () => {
    fc.assert(
      fc.property(anyPool, fc.nat(), fc.infiniteStream(fc.nat()), (pool, pick, shuffle) => {
        fc.pre(pool.capacity > 1);
        const all: string[] = [];
        for (let count = 0; count < pool.capacity; count += 1)
          all.push(lowestFreeAddress(pool, among(all)) ?? "");
        const returned = all[pick % all.length] ?? "";
        const rest = all
          .filter((address) => address !== returned)
          .map((address) => ({ address, key: shuffle.next().value ?? 0 }))
          .toSorted((a, b) => a.key - b.key)
          .map(({ address }) => address);
        expect(lowestFreeAddress(pool, among(rest))).toBe(returned);
      }),
    );
  });
});

describe("Hardware addresses", () => {
  test("are unicast, locally administered and not those of taps", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.string(), (uid, network) => {
        const address = chooseMacAddress(uid, network, none);
        expect(address).toMatch(/^02(:[0-9a-f]{2}){5}$/);
      }),
    );
  });

  test("follow from the machine and the network alone", () => {
    const first = chooseMacAddress("a", "lan", none);
    expect(chooseMacAddress("a", "lan", none)).toBe(first);
    expect(chooseMacAddress("b", "lan", none)).not.toBe(first);
    expect(chooseMacAddress("a", "wan", none)).not.toBe(first);
  });

  test("are never the one that another machine has", () => {
    const first = chooseMacAddress("a", "lan", none);
    const second = chooseMacAddress("a", "lan", (address) => address === first);
    const third = chooseMacAddress("a", "lan", (address) => [first, second].includes(address));
    expect(new Set([first, second, third]).size).toBe(3);
  });
});
