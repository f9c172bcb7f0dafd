import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { type Change, type ObservedTable, plan } from "../../../../src/node-agent/filters/plan.ts";
import { parseTable, renderChanges } from "../../../../src/node-agent/filters/render.ts";
import { ipv4Rules, noRules, type RuleSet } from "../../../../src/node-agent/filters/rules.ts";
import type { GuestFilter } from "../../../../src/node-agent/filters/types.ts";

const guestOf = (host: number): GuestFilter => ({
  vmUid: `${host}1111111-1111-4111-8111-111111111111`,
  tap: `vtap0000000000${host}`,
  macAddress: `02:00:00:00:00:0${host}`,
  address: `10.0.0.1${host}`,
  gateway: "10.0.0.1",
});

const empty: ObservedTable = new Map([
  ["INPUT", []],
  ["FORWARD", []],
  ["OUTPUT", []],
]);

const targetOf = (rule: string): string | undefined => / -[jg] (\S+)$/.exec(rule)?.[1];

/** What iptables makes of the changes; it refuses what the real one refuses. */
const apply = (table: ObservedTable, changes: readonly Change[]): ObservedTable => {
  const chains = new Map([...table].map(([chain, rules]) => [chain, [...rules]]));
  const rulesOf = (chain: string): string[] => {
    const rules = chains.get(chain);
    if (rules === undefined) throw new Error(`no chain ${chain}`);
    return rules;
  };
  const check = (rule: string): string => {
    const target = targetOf(rule);
    if (target?.startsWith("VIREO-")) rulesOf(target);
    return rule;
  };
  for (const change of changes) {
    if (change.kind === "empty-chain") chains.set(change.chain, []);
    else if (change.kind === "append-rule") rulesOf(change.chain).push(check(change.rule));
    else if (change.kind === "insert-first") rulesOf(change.chain).unshift(check(change.rule));
    else if (change.kind === "delete-rule") {
      const index = rulesOf(change.chain).indexOf(change.rule);
      if (index === -1) throw new Error(`no rule ${change.rule} in ${change.chain}`);
      rulesOf(change.chain).splice(index, 1);
    } else {
      const used = [...chains.values()].flat().some((rule) => targetOf(rule) === change.chain);
      if (used || rulesOf(change.chain).length > 0) throw new Error(`${change.chain} is in use`);
      chains.delete(change.chain);
    }
  }
  return chains;
};

const foreignRules = [
  "-j ACCEPT",
  "-s 203.0.113.0/24 -j DROP",
  '-m comment --comment "vireo:not-a-fingerprint" -j KUBE-FORWARD',
  "-j KUBE-FORWARD",
];

const someRules = fc.array(fc.constantFrom(...foreignRules), { maxLength: 3 });
const guestSets = fc.subarray([1, 2, 3, 4]).map((hosts) => hosts.map(guestOf));

/** A table of somebody else, in which an earlier agent was for some guests, and then somebody did damage. */
const anyTable = fc
  .record({
    foreign: fc.record({ INPUT: someRules, FORWARD: someRules, "KUBE-FORWARD": someRules }),
    earlier: fc.option(guestSets),
    damage: fc.array(
      fc.record({
        chain: fc.constantFrom(
          "VIREO-FORWARD",
          "VIREO-INPUT",
          "VIREO-EGRESS",
          "FORWARD",
          "INPUT",
          "VIREO-OLD",
        ),
        how: fc.constantFrom("empty", "remove-first", "insert-foreign", "duplicate-first"),
      }),
      { maxLength: 3 },
    ),
  })
  .map(({ foreign, earlier, damage }) => {
    const start: ObservedTable = new Map([...empty, ...Object.entries(foreign)]);
    const table = new Map(earlier === null ? start : apply(start, plan(ipv4Rules(earlier, []), start)));
    for (const { chain, how } of damage) {
      const rules = table.get(chain) ?? [];
      const [first = "-j ACCEPT"] = rules;
      const damaged = {
        empty: [],
        "remove-first": rules.slice(1),
        "insert-foreign": ["-j DROP", ...rules],
        "duplicate-first": [first, ...rules],
      };
      // An emptied built-in chain loses the foreign rules too: that is not our doing.
      if (table.has(chain) || chain === "VIREO-OLD") table.set(chain, damaged[how]);
    }
    return table;
  });

const foreignPart = (table: ObservedTable): unknown =>
  [...table].flatMap(([chain, rules]) =>
    chain.startsWith("VIREO-")
      ? []
      : [[chain, rules.filter((rule) => !/--comment vireo:[0-9a-f]{16} -j VIREO-/.test(rule))]],
  );

const wantedSets: fc.Arbitrary<RuleSet> = fc.oneof(
  guestSets.map((guests) => ipv4Rules(guests, ["192.0.2.1"])),
  fc.constant(noRules),
);

describe("the plan for filters", () => {
  test("leads from any table to the wanted rules, in which nothing is left to do", () => {
    fc.assert(
      fc.property(anyTable, wantedSets, (table, wanted) => {
        const end = apply(table, plan(wanted, table));
        expect(plan(wanted, end)).toEqual([]);
        expect([...end.keys()].filter((chain) => chain.startsWith("VIREO-")).toSorted()).toEqual(
          [...wanted.chains.keys()].toSorted(),
        );
        for (const [chain, rules] of wanted.chains) {
          const bare = end.get(chain)?.map((rule) => rule.replace(/^-m comment --comment \S+ /, ""));
          expect(bare).toEqual(rules);
        }
        for (const { builtIn, chain } of wanted.hooks) {
          expect(end.get(builtIn)?.[0]).toMatch(new RegExp(`-j ${chain}$`));
        }
      }),
    );
  });

  test("leaves the rules of others as they are, and in their order", () => {
    fc.assert(
      fc.property(anyTable, wantedSets, (table, wanted) => {
        expect(foreignPart(apply(table, plan(wanted, table)))).toEqual(foreignPart(table));
      }),
    );
  });

  test("touches only chains that differ", () => {
    const before = apply(empty, plan(ipv4Rules([guestOf(1), guestOf(2)], []), empty));
    const changes = plan(ipv4Rules([guestOf(1), guestOf(2), guestOf(3)], []), before);
    expect(new Set(changes.map(({ chain }) => chain))).toEqual(
      new Set(["VIREO-EGRESS", "VIREO-INGRESS", "VIREO-E-vtap00000000003", "VIREO-I-vtap00000000003"]),
    );
  });

  test("notices a rule that changed its place", () => {
    const wanted = ipv4Rules([guestOf(1)], []);
    const table = new Map(apply(empty, plan(wanted, empty)));
    const [first = "", second = "", ...rest] = table.get("VIREO-FORWARD") ?? [];
    table.set("VIREO-FORWARD", [second, first, ...rest]);
    expect(new Set(plan(wanted, table).map(({ chain }) => chain))).toEqual(new Set(["VIREO-FORWARD"]));
  });
});

describe("the text of iptables", () => {
  test("is written for one restore", () => {
    const changes: Change[] = [
      { kind: "empty-chain", chain: "VIREO-A" },
      { kind: "append-rule", chain: "VIREO-A", rule: "-j DROP" },
      { kind: "delete-rule", chain: "FORWARD", rule: "-j VIREO-B" },
      { kind: "insert-first", chain: "FORWARD", rule: "-j VIREO-A" },
      { kind: "delete-chain", chain: "VIREO-B" },
    ];
    expect(renderChanges(changes)).toBe(`*filter
:VIREO-A - [0:0]
-A VIREO-A -j DROP
-D FORWARD -j VIREO-B
-I FORWARD 1 -j VIREO-A
-X VIREO-B
COMMIT
`);
  });

  test("is read as chains and their rules", () => {
    const text = `# Generated by iptables-save v1.8.9
*filter
:INPUT DROP [12:3456]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:VIREO-A - [0:0]
-A FORWARD -m comment --comment "vireo:0123456789abcdef" -j VIREO-A
-A VIREO-A ! -s 10.0.0.1/32 -j DROP
-A VIREO-A
COMMIT
`;
    expect(Object.fromEntries(parseTable(text))).toEqual({
      INPUT: [],
      FORWARD: ['-m comment --comment "vireo:0123456789abcdef" -j VIREO-A'],
      OUTPUT: [],
      "VIREO-A": ["! -s 10.0.0.1/32 -j DROP", ""],
    });
  });

  test("is empty where nobody has used the table", () => {
    expect([...parseTable("").keys()]).toEqual(["INPUT", "FORWARD", "OUTPUT"]);
  });
});
