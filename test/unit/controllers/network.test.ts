import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Network } from "../../../src/api/network.ts";
import { COUNT_INTERVAL_MS, decideNetwork } from "../../../src/controllers/network/decide.ts";
import { judgeNetwork } from "../../../src/controllers/network/judge.ts";
import type { NetworkFacts } from "../../../src/controllers/network/observe.ts";
import { networkWith, NOW, uidOf } from "./objects.ts";

const network = (name: string, cidr: string, creationTimestamp = "2026-01-01T00:00:00Z"): Network =>
  networkWith({ cidr }, { name, uid: uidOf(name), creationTimestamp });

const facts = (changes: Partial<NetworkFacts> = {}): NetworkFacts => ({
  network: networkWith(),
  networks: [networkWith()],
  number: { kind: "number", vni: 7 },
  allocated: 0,
  clashes: [],
  sinceWriteMs: undefined,
  ...changes,
});

const written = (status: Network["status"]): Network => ({ ...networkWith(), status });

const statusOf = (given: NetworkFacts): NonNullable<Network["status"]> => {
  const decision = decideNetwork(given, NOW);
  if (decision.kind !== "write") throw new Error(decision.kind);
  return decision.status;
};

describe("A Network", () => {
  test("tells its gateway and how full it is", () => {
    expect(statusOf(facts({ allocated: 3 }))).toMatchObject({
      gateway: "10.0.0.1",
      vni: 7,
      addresses: { capacity: 253, allocated: 3 },
      conditions: [{ type: "Ready", status: "True", reason: "Valid" }],
    });
  });

  test.each<[string, Network, readonly Network[], string | undefined]>([
    ["alone is usable", network("lan", "10.0.0.0/24"), [], undefined],
    ["beside others is usable", network("lan", "10.0.0.0/24"), [network("a", "10.0.1.0/24")], undefined],
    [
      "that overlaps an older one is not usable",
      network("lan", "10.0.0.0/24", "2026-01-02T00:00:00Z"),
      [network("old", "10.0.0.0/8")],
      "CIDROverlap: 10.0.0.0/24 overlaps 10.0.0.0/8 of the older Network old, and nodes can have a route to one of them only. Set spec.reachableFromNodes of this Network or of that one to false.",
    ],
    [
      "that overlaps a younger one is usable",
      network("lan", "10.0.0.0/24"),
      [network("new", "10.0.0.0/8", "2026-01-02T00:00:00Z")],
      undefined,
    ],
    [
      "that overlaps one of the same second yields to the first by name",
      network("lan", "10.0.0.0/24"),
      [network("aaa", "10.0.0.0/24"), network("zzz", "10.0.0.0/24")],
      "CIDROverlap: 10.0.0.0/24 overlaps 10.0.0.0/24 of the older Network aaa, and nodes can have a route to one of them only. Set spec.reachableFromNodes of this Network or of that one to false.",
    ],
    [
      "that overlaps an older one is usable when nodes have no route to it",
      networkWith(
        { cidr: "10.0.0.0/24", reachableFromNodes: false },
        { creationTimestamp: "2026-01-02T00:00:00Z" },
      ),
      [network("old", "10.0.0.0/8")],
      undefined,
    ],
    [
      "that overlaps an older one is usable when nodes have no route to that one",
      network("lan", "10.0.0.0/24", "2026-01-02T00:00:00Z"),
      [networkWith({ cidr: "10.0.0.0/8", reachableFromNodes: false }, { name: "old", uid: uidOf("old") })],
      undefined,
    ],
    [
      "whose gateway is the network address is not usable",
      networkWith({ gateway: "10.0.0.0" }),
      [],
      "InvalidGateway: Gateway 10.0.0.0 is the network address of 10.0.0.0/24. Make a Network with another gateway.",
    ],
    [
      "whose gateway is the broadcast address is not usable",
      networkWith({ gateway: "10.0.0.255" }),
      [],
      "InvalidGateway: Gateway 10.0.0.255 is the broadcast address of 10.0.0.0/24. Make a Network with another gateway.",
    ],
  ])("%s", (_, subject, others, expected) => {
    const verdict = judgeNetwork(subject, [subject, ...others]);
    expect(verdict.kind === "usable" ? undefined : `${verdict.reason}: ${verdict.message}`).toBe(expected);
  });

  test("that is not usable is stalled, and an event tells why", () => {
    const decision = decideNetwork(facts({ network: networkWith({ gateway: "10.0.0.0" }) }), NOW);
    expect(decision).toMatchObject({
      kind: "write",
      status: {
        conditions: [
          { type: "Ready", status: "False" },
          { type: "Stalled", status: "True" },
        ],
      },
      announcements: [{ type: "Warning", reason: "InvalidGateway" }],
    });
  });

  test("without a number is not ready, and nobody needs to give up on it", () => {
    const number = { kind: "none", reason: "NumbersExhausted", message: "None is left." } as const;
    const status = statusOf(facts({ number }));
    expect(status).not.toHaveProperty("vni");
    expect(status.conditions).toMatchObject([
      { type: "Ready", status: "False", reason: "NumbersExhausted", message: "None is left." },
    ]);
  });

  test("tells which of its peers are none, stays ready, and says so in an event", () => {
    const subject = networkWith({ routesTo: ["west", "east", "gone"] });
    const east = networkWith({ cidr: "10.1.0.0/24" }, { name: "east", uid: uidOf("east") });
    const west = networkWith(
      { cidr: "10.2.0.0/24", routesTo: ["lan"] },
      { name: "west", uid: uidOf("west") },
    );
    const decision = decideNetwork(facts({ network: subject, networks: [subject, east, west] }), NOW);
    const message = "Network east does not name this one in its spec.routesTo. Network gone does not exist.";
    expect(decision).toMatchObject({
      status: {
        conditions: [
          { type: "Ready", status: "True" },
          { type: "PeersReady", status: "False", reason: "PeerOneSided", message },
        ],
      },
      announcements: [{ type: "Warning", reason: "PeerOneSided" }],
    });
  });

  test("says when all of its peers are peers", () => {
    const subject = networkWith({ routesTo: ["west"] });
    const west = networkWith(
      { cidr: "10.2.0.0/24", routesTo: ["lan"] },
      { name: "west", uid: uidOf("west") },
    );
    expect(statusOf(facts({ network: subject, networks: [subject, west] })).conditions).toMatchObject([
      { type: "Ready", status: "True" },
      { type: "PeersReady", status: "True" },
    ]);
  });

  test("in which an address was given twice says so, once", () => {
    const clashes = [{ address: "10.0.0.2", machines: ["a/x", "b/y"] }];
    const decision = decideNetwork(facts({ clashes }), NOW);
    expect(decision).toMatchObject({
      kind: "write",
      status: {
        conditions: [
          { type: "Ready", status: "True" },
          { type: "AddressConflict", status: "True" },
        ],
      },
      announcements: [{ type: "Warning", reason: "AddressConflict" }],
    });
    expect(decideNetwork(facts({ clashes, network: written(statusOf(facts({ clashes }))) }), NOW)).toEqual({
      kind: "nothing",
    });
  });

  test("is written once", () => {
    expect(decideNetwork(facts({ network: written(statusOf(facts())) }), NOW)).toEqual({ kind: "nothing" });
  });

  test("whose count changed is written at once when it was not written lately", () => {
    const network = written(statusOf(facts()));
    expect(decideNetwork(facts({ network, allocated: 1 }), NOW)).toMatchObject({ kind: "write" });
    expect(
      decideNetwork(facts({ network, allocated: 1, sinceWriteMs: COUNT_INTERVAL_MS }), NOW),
    ).toMatchObject({
      kind: "write",
    });
  });

  test("whose count changed again waits for the rest of the interval", () => {
    const network = written(statusOf(facts()));
    expect(decideNetwork(facts({ network, allocated: 1, sinceWriteMs: 1000 }), NOW)).toEqual({
      kind: "later",
      afterMs: COUNT_INTERVAL_MS - 1000,
    });
  });

  test("that became unusable does not wait", () => {
    const network = written(statusOf(facts()));
    const networks = [
      networkWith({}, { name: "old", uid: uidOf("old"), creationTimestamp: "2025-01-01T00:00:00Z" }),
    ];
    expect(decideNetwork(facts({ network, networks, sinceWriteMs: 0 }), NOW)).toMatchObject({
      kind: "write",
    });
  });

  test("of any that overlap exactly one is usable, in whatever order they come", () => {
    fc.assert(
      fc.property(
        fc
          .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,6}$/), fc.constantFrom("01", "02")), {
            minLength: 1,
            maxLength: 6,
            selector: ([name]) => name,
          })
          .map((list) => list.map(([name, day]) => network(name, "10.0.0.0/24", `2026-01-${day}T00:00:00Z`)))
          .chain((list) =>
            fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
          ),
        ([list, shuffled]) => {
          const usable = (among: readonly Network[]): string[] =>
            list
              .filter((each) => judgeNetwork(each, among).kind === "usable")
              .map(({ metadata }) => metadata.name);
          expect(usable(list)).toHaveLength(1);
          expect(usable(shuffled)).toEqual(usable(list));
        },
      ),
    );
  });
});
