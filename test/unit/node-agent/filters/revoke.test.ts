import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { packetMark, REVOKED_BIT } from "../../../../src/api/network-identity.ts";
import type { ConntrackEntry } from "../../../../src/node-agent/filters/conntrack.ts";
import { createPolicy } from "../../../../src/node-agent/filters/policy.ts";
import { entriesOf, planRevocations } from "../../../../src/node-agent/filters/revoke.ts";
import type { DesiredFilters, FilterRule } from "../../../../src/node-agent/filters/types.ts";
import { desiredOn, type GuardedCluster, type GuardedGuest } from "../../../fakes/guarded-cluster.ts";
import { attempts, clusters } from "../../../fakes/random-clusters.ts";
import { type Attempt, mayReach, type Party } from "../../../fakes/reach-oracle.ts";
import { guestUid } from "../../../testbed/packet-network.ts";

const OUTSIDE = "198.51.100.1";
const NODES = ["192.0.2.1", "192.0.2.2"] as const;

/** blue and red route to each other; green has the addresses of blue; grey stays inside. */
const networks = [
  { vni: 1, cidr: "10.0.0.0/24", gateway: "10.0.0.1", routesTo: [2] },
  { vni: 2, cidr: "10.0.1.0/24", gateway: "10.0.1.1", routesTo: [1] },
  { vni: 3, cidr: "10.0.0.0/24", gateway: "10.0.0.1", routesTo: [] },
  { vni: 4, cidr: "10.0.4.0/24", gateway: "10.0.4.1", routesTo: [], egress: "None" as const },
];

const guestIn = (vni: number, node: number, host: number): Omit<GuardedGuest, "groups"> => ({
  name: `guest-${vni}-${host}`,
  vni,
  node,
  address: `${networks[vni - 1]?.cidr.replace("0/24", "")}${host}`,
  macAddress: `02:00:00:00:0${vni}:${host}`,
});

const guests = [1, 2, 3, 4].flatMap((vni) =>
  [11, 12, 13].map((host) => guestIn(vni, host === 13 ? 1 : 0, host)),
);
const blocks = ["0.0.0.0/0", "10.0.0.0/24", "10.0.0.12/32", "10.0.1.0/28", "198.51.100.0/24", "192.0.2.0/24"];
const randomClusters = clusters({ guests, networks, nodes: NODES, blocks });

const numbers = { tcp: 6, udp: 17, echo: 1 } as const;

const tuple = (
  source: string,
  destination: string,
  attempt: Attempt,
  isReply: boolean,
): ConntrackEntry["original"] => {
  if (attempt.protocol === "other") return { source, destination };
  if (attempt.protocol === "echo") {
    return { source, destination, icmp: { type: isReply ? 0 : 8, code: 0, id: 7 } };
  }
  const ports = isReply
    ? { source: attempt.port, destination: 40_000 }
    : { source: 40_000, destination: attempt.port };
  return { source, destination, ports };
};

const addressOf = (party: Party): string => ("outside" in party ? party.outside : party.address);

/** The entry that the kernel of node 0 has of what `from` began with `to`. */
const entryOf = (
  from: Party,
  to: Party,
  attempt: Attempt,
  change: Partial<ConntrackEntry> = {},
): ConntrackEntry => {
  const vni = "outside" in from ? undefined : from.vni;
  const zone = "outside" in to || vni === undefined ? undefined : Math.min(vni, to.vni);
  return {
    protocol: attempt.protocol === "other" ? attempt.number : numbers[attempt.protocol],
    original: tuple(addressOf(from), addressOf(to), attempt, false),
    reply: tuple(
      addressOf(to),
      "outside" in to && vni !== undefined ? NODES[0] : addressOf(from),
      attempt,
      true,
    ),
    zones: zone === undefined ? (vni === undefined ? {} : { original: vni }) : { both: zone },
    mark: vni === undefined ? 0 : packetMark(vni),
    ...change,
  };
};

const any: FilterRule = { protocol: "any", remote: { kind: "any" } };
const ssh: FilterRule = { protocol: 6, ports: { first: 22, last: 22 }, remote: { kind: "any" } };
const fromMembers: FilterRule = { protocol: "any", remote: { kind: "group", uid: "default" } };

const inDefault = (guest: Omit<GuardedGuest, "groups">): GuardedGuest => ({ ...guest, groups: ["default"] });

/** All in the group `default`, which lets its members in and everything out. */
const cluster: GuardedCluster = {
  nodes: NODES,
  networks,
  groups: [
    { name: "default", ingress: [fromMembers], egress: [any] },
    { name: "ssh", ingress: [ssh], egress: [any] },
    { name: "silent", ingress: [], egress: [] },
  ],
  guests: guests.map(inDefault),
};

const named = (name: string, from: GuardedCluster = cluster): GuardedGuest => {
  const guest = from.guests.find((candidate) => candidate.name === name);
  if (guest === undefined) throw new Error(`no guest ${name}`);
  return guest;
};

const withGroups = (name: string, groups: readonly string[]): GuardedCluster => ({
  ...cluster,
  guests: cluster.guests.map((guest) => (guest.name === name ? { ...guest, groups } : guest)),
});

const withoutRoutes = (network: GuardedCluster["networks"][number]) => ({ ...network, routesTo: [] });

const tcp = (port: number): Attempt => ({ protocol: "tcp", port });
const blue11 = named("guest-1-11");
const blue12 = named("guest-1-12");
const outside = { outside: OUTSIDE };

const verdict = (entry: ConntrackEntry, desired: DesiredFilters): "revoke" | "restore" | "leave" => {
  const { revoke, restore } = planRevocations([entry], desired, "all");
  return revoke.length > 0 ? "revoke" : restore.length > 0 ? "restore" : "leave";
};

const translated = (entry: ConntrackEntry, address: string): ConntrackEntry => ({
  ...entry,
  original: { ...entry.original, destination: address },
});

describe("what a change of rules does to connections", () => {
  const silent11 = withGroups("guest-1-11", ["silent"]);
  const ssh11 = withGroups("guest-1-11", ["ssh"]);
  const apart: GuardedCluster = {
    ...cluster,
    networks: networks.map(withoutRoutes),
  };
  const cases: readonly (readonly [
    string,
    ConntrackEntry,
    GuardedCluster,
    "revoke" | "restore" | "leave",
  ])[] = [
    ["one between members goes on", entryOf(blue11, blue12, tcp(80)), cluster, "leave"],
    ["one to a guest that left its group is cut", entryOf(blue12, blue11, tcp(80)), ssh11, "revoke"],
    ["one that the new groups allow goes on", entryOf(blue12, blue11, tcp(22)), ssh11, "leave"],
    [
      "one from a guest that may not send any more is cut",
      entryOf(blue11, outside, tcp(80)),
      silent11,
      "revoke",
    ],
    [
      "one from outside is cut with the rule that let it in",
      entryOf(outside, blue11, tcp(22)),
      cluster,
      "revoke",
    ],
    ["one from outside goes on while a rule lets it in", entryOf(outside, blue11, tcp(22)), ssh11, "leave"],
    [
      "one through a floating address is judged by the port and address that it was translated to",
      translated(entryOf(outside, blue11, tcp(22)), "203.0.113.9"),
      ssh11,
      "leave",
    ],
    [
      "one through a floating address is cut like any other",
      translated(entryOf(outside, blue11, tcp(80)), "203.0.113.9"),
      ssh11,
      "revoke",
    ],
    [
      "a revoked one stays revoked",
      entryOf(blue12, blue11, tcp(80), { mark: packetMark(1) + REVOKED_BIT }),
      ssh11,
      "leave",
    ],
    [
      "a revoked one that is allowed again goes on",
      entryOf(blue12, blue11, tcp(80), { mark: packetMark(1) + REVOKED_BIT }),
      cluster,
      "restore",
    ],
    [
      "one from outside that is allowed again goes on",
      entryOf(outside, blue11, tcp(22), { mark: REVOKED_BIT }),
      ssh11,
      "restore",
    ],
    [
      "an echo of a guest is judged by its type",
      entryOf(blue12, blue11, { protocol: "echo" }),
      ssh11,
      "revoke",
    ],
    [
      "one of another protocol has no port",
      entryOf(blue12, blue11, { protocol: "other", number: 47 }),
      ssh11,
      "revoke",
    ],
    [
      "one to a Network that is routed to goes on",
      entryOf(blue11, named("guest-2-12"), tcp(80)),
      cluster,
      "leave",
    ],
    [
      "one to a Network that is routed to no longer is cut",
      entryOf(blue11, named("guest-2-12"), tcp(80)),
      apart,
      "revoke",
    ],
    [
      "one from a Network that is routed to no longer is cut",
      entryOf(named("guest-2-13"), blue12, tcp(80)),
      apart,
      "revoke",
    ],
    [
      "one of a Network with the same addresses is not touched",
      entryOf(named("guest-3-12"), named("guest-3-11"), tcp(80)),
      silent11,
      "leave",
    ],
    [
      "one to the world out of a Network that has no way there is cut",
      entryOf(named("guest-4-11"), outside, tcp(80)),
      cluster,
      "revoke",
    ],
    [
      "one to an address that became a node's is cut",
      entryOf(blue11, outside, tcp(80)),
      { ...cluster, nodes: [...NODES, OUTSIDE] },
      "revoke",
    ],
    ["the node's own is not judged", entryOf({ outside: NODES[0] }, blue11, tcp(80)), silent11, "leave"],
    [
      "an echo to the gateway is not judged",
      entryOf(blue11, { outside: "10.0.0.1" }, { protocol: "echo" }),
      silent11,
      "leave",
    ],
    [
      "one that is no guest's is not touched",
      entryOf(outside, { outside: "172.17.0.2" }, tcp(80)),
      silent11,
      "leave",
    ],
    [
      "one of a guest to a neighbour's floating address comes from the node",
      entryOf(blue12, blue11, tcp(80), {
        original: tuple(blue12.address, "203.0.113.9", tcp(80), false),
        reply: tuple(blue11.address, NODES[0], tcp(80), true),
      }),
      cluster,
      "revoke",
    ],
  ];

  test.each(cases)("%s", (_name, entry, now, expected) => {
    expect(verdict(entry, desiredOn(now, 0))).toBe(expected);
  });

  test("only connections of the machines concerned are looked at", () => {
    const entry = entryOf(blue12, blue11, tcp(80));
    const desired = desiredOn(ssh11, 0);
    expect(planRevocations([entry], desired, [guestUid("guest-1-11")]).revoke).toEqual([entry]);
    expect(planRevocations([entry], desired, [guestUid("guest-1-12")]).revoke).toEqual([entry]);
    expect(planRevocations([entry], desired, [guestUid("guest-2-11")]).revoke).toEqual([]);
  });
});

test("a connection to an address outside of the Network, that a guest may have, goes on", () => {
  const address = "203.0.113.200";
  const shares = (guest: GuardedGuest): GuardedGuest =>
    guest.name === "guest-1-11" ? { ...guest, allowedAddresses: [address] } : guest;
  const desired = desiredOn({ ...cluster, guests: cluster.guests.map(shares) }, 0);
  expect(verdict(entryOf(blue12, { ...blue11, address }, tcp(80)), desired)).toBe("leave");
});

test("after a guest has left, only its own entries are removed", () => {
  const remaining: GuardedCluster = {
    ...cluster,
    guests: cluster.guests.filter(({ name }) => name !== "guest-1-11"),
  };
  const gone = { ...blue11, allowedAddresses: ["10.0.0.77"] };
  const own = [
    entryOf({ ...blue11, address: "10.0.0.77" }, blue12, tcp(80)),
    entryOf(blue11, blue12, tcp(80)),
    entryOf(named("guest-2-12"), blue11, tcp(80)),
    entryOf(blue11, outside, tcp(80)),
  ];
  const others = [
    entryOf(named("guest-3-11"), named("guest-3-12"), tcp(80)),
    entryOf(blue12, outside, tcp(80)),
    entryOf(outside, named("guest-3-11"), tcp(80)),
  ];
  expect(entriesOf(gone, [...own, ...others], desiredOn(remaining, 0))).toEqual(own);
  const alone = { ...remaining, guests: remaining.guests.filter(({ vni }) => vni === 1) };
  const fromOutside = entryOf(outside, blue11, tcp(80));
  expect(entriesOf(gone, [fromOutside], desiredOn(alone, 0))).toEqual([fromOutside]);
});

describe("with any rules, groups and members", () => {
  const parties = (from: GuardedCluster): readonly Party[] => [...from.guests, outside];
  const isHere = (party: Party): boolean => !("outside" in party) && party.node === 0;

  /** What is judged on node 0: the half of each guest that is there. */
  const oracleHere = (from: GuardedCluster, sender: Party, receiver: Party, attempt: Attempt): boolean => {
    const open = { name: "open", ingress: [any], egress: [any] };
    const opened = (party: Party): Party =>
      isHere(party) || "outside" in party ? party : { ...party, groups: [...party.groups, "open"] };
    return mayReach({ ...from, groups: [...from.groups, open] }, opened(sender), opened(receiver), attempt);
  };

  test("a connection is left alone exactly if its first packet would arrive", () => {
    fc.assert(
      fc.property(randomClusters, attempts, (drawn, attempt) => {
        const desired = desiredOn(drawn, 0);
        for (const from of parties(drawn)) {
          for (const to of parties(drawn)) {
            if (from === to || !(isHere(from) || isHere(to))) continue;
            // The kernel has no entry of what never had a way.
            const meet =
              "outside" in from || "outside" in to || from.vni === to.vni || from.vni + to.vni === 3;
            if (
              !meet ||
              ("outside" in from &&
                drawn.guests.filter((guest) => guest.node === 0 && guest.address === addressOf(to)).length >
                  1)
            )
              continue;
            const expected = oracleHere(drawn, from, to, attempt) ? "leave" : "revoke";
            expect(verdict(entryOf(from, to, attempt), desired)).toBe(expected);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test("the policy of one direction is the oracle's", () => {
    const verdicts: boolean[] = [];
    fc.assert(
      fc.property(randomClusters, attempts, (drawn, attempt) => {
        const policy = createPolicy(desiredOn(drawn, 0));
        const [guest] = policy.guestsAt("10.0.4.11");
        if (guest === undefined) throw new Error("no guest");
        const packet = {
          protocol: attempt.protocol === "other" ? attempt.number : numbers[attempt.protocol],
          source: OUTSIDE,
          destination: guest.address,
          destinationPort: "port" in attempt ? attempt.port : undefined,
          icmp: attempt.protocol === "echo" ? { type: 8, code: 0 } : undefined,
        };
        const expected = mayReach(drawn, outside, named("guest-4-11", drawn), attempt);
        verdicts.push(expected);
        expect(policy.mayReceive(guest, packet)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
    // Neither is rare, or nothing has been shown.
    const allowed = verdicts.filter(Boolean).length / verdicts.length;
    expect(allowed).toBeGreaterThan(0.05);
    expect(allowed).toBeLessThan(0.95);
  });
});
