import fc from "fast-check";

import type { FilterRule } from "../../src/node-agent/filters/types.ts";
import type { GuardedCluster, GuardedGroup, GuardedGuest } from "./guarded-cluster.ts";
import type { Attempt } from "./reach-oracle.ts";

/** A few ports, so that rules and attempts meet. */
export const TRIED_PORTS = [1000, 1001, 1002, 1003] as const;

export const attempts: fc.Arbitrary<Attempt> = fc.oneof(
  fc.record({
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    port: fc.constantFrom(...TRIED_PORTS),
  }),
  fc.constant({ protocol: "echo" as const }),
  fc.constant({ protocol: "other" as const, number: 47 }),
);

const inGroups = (guest: Omit<GuardedGuest, "groups">, groups: readonly string[]): GuardedGuest => ({
  ...guest,
  groups,
});

const ports = fc
  .tuple(fc.constantFrom(...TRIED_PORTS), fc.constantFrom(...TRIED_PORTS))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

const what: fc.Arbitrary<Omit<FilterRule, "remote">> = fc.oneof(
  fc.constant({ protocol: "any" as const }),
  fc.record({ protocol: fc.constantFrom(6, 17), ports }),
  fc.record({ protocol: fc.constantFrom(1, 6, 17, 47) }),
  fc.record({
    protocol: fc.constant(1),
    icmp: fc.constantFrom({ type: 8 }, { type: 8, code: 0 }, { type: 13 }),
  }),
);

export interface RandomClusterShape {
  /** Where guests are and what they are called; their groups are drawn. */
  readonly guests: readonly Omit<GuardedGuest, "groups">[];
  readonly networks: GuardedCluster["networks"];
  readonly nodes: readonly string[];
  /** Blocks that rules speak of. */
  readonly blocks: readonly string[];
}

const GROUP_NAMES = ["g0", "g1", "g2", "g3"] as const;

const remotes = (blocks: readonly string[]): fc.Arbitrary<FilterRule["remote"]> =>
  fc.oneof(
    fc.constant({ kind: "any" as const }),
    fc.record({
      kind: fc.constant("cidrs" as const),
      cidrs: fc.uniqueArray(fc.constantFrom(...blocks), { minLength: 1, maxLength: 3 }),
      except: fc.uniqueArray(fc.constantFrom(...blocks), { maxLength: 2 }),
    }),
    fc.record({ kind: fc.constant("group" as const), uid: fc.constantFrom(...GROUP_NAMES) }),
  );

const rules = (blocks: readonly string[]): fc.Arbitrary<readonly FilterRule[]> =>
  fc.array(
    fc
      .tuple(what, remotes(blocks))
      .map(([subject, remote]): FilterRule => Object.assign({ remote }, subject)),
    { maxLength: 3 },
  );

const group = (name: string, blocks: readonly string[]): fc.Arbitrary<GuardedGroup> =>
  fc.record({
    name: fc.constant(name),
    ingress: rules(blocks),
    egress: fc.oneof(
      fc.constant([{ protocol: "any" as const, remote: { kind: "any" as const } }]),
      rules(blocks),
    ),
  });

/** Clusters of one shape with all kinds of rules and memberships. */
export const clusters = ({
  guests,
  networks,
  nodes,
  blocks,
}: RandomClusterShape): fc.Arbitrary<GuardedCluster> =>
  fc.record({
    nodes: fc.constant(nodes),
    networks: fc.constant(networks),
    groups: fc.tuple(...GROUP_NAMES.map((name) => group(name, blocks))),
    guests: fc.tuple(
      ...guests.map((guest) =>
        fc
          .uniqueArray(fc.constantFrom(...GROUP_NAMES), { minLength: 1, maxLength: 3 })
          .map((groups) => inGroups(guest, groups)),
      ),
    ),
  });
