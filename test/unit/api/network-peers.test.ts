import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { haveAddressesInCommon, judgePeers, peersOf } from "../../../src/api/network-peers.ts";
import type { Network } from "../../../src/api/network.ts";
import { networkWith, uidOf } from "../controllers/objects.ts";

/** Networks are as old as the day of January says. */
const network = (name: string, cidr: string, routesTo: readonly string[], day = 1): Network =>
  networkWith(
    { cidr, routesTo: [...routesTo] },
    { name, uid: uidOf(name), creationTimestamp: `2026-01-0${day}T00:00:00Z` },
  );

const hub = network("hub", "10.0.0.0/24", ["east", "west"]);

type Case = readonly [string, readonly Network[], readonly string[], readonly string[]];

const cases: readonly Case[] = [
  [
    "those that name each other",
    [network("east", "10.1.0.0/24", ["hub"]), network("west", "10.2.0.0/24", ["hub"])],
    ["east", "west"],
    ["peer", "peer"],
  ],
  ["those that exist", [network("west", "10.2.0.0/24", ["hub"])], ["west"], ["missing", "peer"]],
  [
    "not one that does not name it",
    [network("east", "10.1.0.0/24", []), network("west", "10.2.0.0/24", ["hub"])],
    ["west"],
    ["one-sided", "peer"],
  ],
  [
    "not one that has its addresses",
    [network("east", "10.0.0.128/25", ["hub"]), network("west", "10.2.0.0/24", ["hub"])],
    ["west"],
    ["overlap", "peer"],
  ],
  [
    "of two that have addresses in common the older",
    [network("east", "10.1.0.0/16", ["hub"], 3), network("west", "10.1.2.0/24", ["hub"], 2)],
    ["west"],
    ["crowded", "peer"],
  ],
  [
    "not one that would not have it, for the sake of an older one",
    [
      network("east", "10.1.0.0/24", ["hub", "old"], 2),
      network("old", "10.0.0.0/16", ["east"], 1),
      network("west", "10.2.0.0/24", ["hub"]),
    ],
    ["west"],
    ["crowded", "peer"],
  ],
];

describe("The peers of a Network are", () => {
  test.each(cases)("%s", (_, others, expected, outcomes) => {
    const young = { ...hub, metadata: { ...hub.metadata, creationTimestamp: "2026-01-09T00:00:00Z" } };
    const networks = [young, ...others];
    expect(peersOf(young, networks).map(({ metadata }) => metadata.name)).toEqual(expected);
    expect(judgePeers(young, networks).map(({ outcome }) => outcome.kind)).toEqual(outcomes);
  });

  test("none for one that names itself", () => {
    const self = network("self", "10.0.0.0/24", ["self"]);
    expect(peersOf(self, [self])).toEqual([]);
  });
});

const names = ["a", "b", "c", "d", "e"];

const anyNetworks = fc.tuple(
  ...names.map((name) =>
    fc
      .record({
        cidr: fc.constantFrom("10.0.0.0/16", "10.0.1.0/24", "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"),
        routesTo: fc.subarray(names),
        day: fc.integer({ min: 1, max: 3 }),
      })
      .map(({ cidr, routesTo, day }) => network(name, cidr, routesTo, day)),
  ),
);

test("peers are mutual, and no address is in two of what a machine can reach, in whatever order they come", () => {
  fc.assert(
    fc.property(
      anyNetworks.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: 5 }))),
      ([networks, shuffled]) => {
        for (const each of networks) {
          const peers = peersOf(each, networks);
          expect(peersOf(each, shuffled)).toEqual(peers);
          for (const peer of peers) expect(peersOf(peer, networks)).toContain(each);
          const reachable = [each, ...peers];
          for (const [index, one] of reachable.entries())
            for (const other of reachable.slice(index + 1))
              expect(haveAddressesInCommon(one, other)).toBe(false);
        }
      },
    ),
  );
});
