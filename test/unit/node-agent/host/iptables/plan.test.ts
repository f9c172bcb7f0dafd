import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { plan, planFromKnown } from "../../../../../src/node-agent/host/iptables/plan.ts";
import { parseTables, renderChanges } from "../../../../../src/node-agent/host/iptables/render.ts";
import type {
  Change,
  ChainOwner,
  Changes,
  ObservedTable,
  ObservedTables,
  Rules,
  RuleSet,
} from "../../../../../src/node-agent/host/iptables/types.ts";

const OWNER: ChainOwner = { prefix: "VIREO-", tag: "vireo" };
const OTHER: ChainOwner = { prefix: "VIREOFIP-", tag: "vireofip" };

const nobody = parseTables("");

const targetOf = (rule: string): string | undefined => / -[jg] (\S+)$/.exec(rule)?.[1];

/** What iptables makes of the changes of one table; it refuses what the real one refuses. */
const applyToTable = (table: ObservedTable, changes: readonly Change[]): ObservedTable => {
  const chains = new Map([...table].map(([chain, rules]) => [chain, [...rules]]));
  const rulesOf = (chain: string): string[] => {
    const rules = chains.get(chain);
    if (rules === undefined) throw new Error(`no chain ${chain}`);
    return rules;
  };
  const check = (rule: string): string => {
    const target = targetOf(rule);
    if (target?.startsWith("VIREO")) rulesOf(target);
    return rule;
  };
  for (const change of changes) {
    if (change.kind === "empty-chain") chains.set(change.chain, []);
    else if (change.kind === "append-rule") rulesOf(change.chain).push(check(change.rule));
    else if (change.kind === "insert-rule") {
      if (change.place > rulesOf(change.chain).length + 1) throw new Error("index of insertion too big");
      rulesOf(change.chain).splice(change.place - 1, 0, check(change.rule));
    } else if (change.kind === "delete-rule") {
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

const apply = (tables: ObservedTables, changes: Changes): ObservedTables => ({
  raw: applyToTable(tables.raw, changes.raw ?? []),
  mangle: applyToTable(tables.mangle, changes.mangle ?? []),
  nat: applyToTable(tables.nat, changes.nat ?? []),
  filter: applyToTable(tables.filter, changes.filter ?? []),
});

/** Rules in filter and nat: a chain for each number, to which the hooks' chains lead. */
const rulesOf = (owner: ChainOwner, order: number, numbers: readonly number[]) => {
  const chain = (name: string | number): string => `${owner.prefix}${name}`;
  const dispatch = numbers.map((number) => `-s 10.0.0.${number} -j ${chain(number)}`);
  const set = (builtIns: readonly string[]): RuleSet => ({
    chains: new Map<string, readonly string[]>([
      ...builtIns.map((builtIn) => [chain(builtIn), dispatch] as const),
      ...numbers.map(
        (number) => [chain(number), ["-p tcp -j ACCEPT", `-s 10.0.0.${number} -j DROP`]] as const,
      ),
    ]),
    hooks: builtIns.map((builtIn) => ({ builtIn, chain: chain(builtIn), order })),
  });
  return { nat: set(["POSTROUTING"]), filter: set(["FORWARD", "INPUT"]) } satisfies Rules;
};

const FOREIGN = [
  "-j ACCEPT",
  "-s 203.0.113.0/24 -j DROP",
  '-m comment --comment "vireo:not-a-fingerprint" -j KUBE-FORWARD',
  "-j KUBE-FORWARD",
];

const numbers = fc.subarray([1, 2, 3, 4]);
const wantedRules: fc.Arbitrary<Rules> = fc.oneof(
  numbers.map((some) => rulesOf(OWNER, 20, some)),
  fc.constant({}),
);
const otherOrder = fc.constantFrom(10, 20, 30);

const damages = ["empty", "remove-first", "insert-foreign", "duplicate-first", "reverse"] as const;

const damaged = (rules: readonly string[], how: (typeof damages)[number]): readonly string[] => {
  const [first = "-j ACCEPT"] = rules;
  return {
    empty: [],
    "remove-first": rules.slice(1),
    "insert-foreign": ["-j DROP", ...rules],
    "duplicate-first": [first, ...rules],
    reverse: rules.toReversed(),
  }[how];
};

const withChain = (
  tables: ObservedTables,
  table: "nat" | "filter",
  chain: string,
  rules: readonly string[],
): ObservedTables => ({ ...tables, [table]: new Map(tables[table]).set(chain, rules) });

/** Tables in which others, an earlier agent and another owner of ours were, and to which damage was done. */
const anyTables: fc.Arbitrary<ObservedTables> = fc
  .record({
    foreign: fc.array(fc.constantFrom(...FOREIGN), { maxLength: 3 }),
    earlier: fc.option(numbers),
    other: fc.option(otherOrder),
    damage: fc.array(
      fc.record({
        table: fc.constantFrom("nat" as const, "filter" as const),
        chain: fc.constantFrom("VIREO-FORWARD", "VIREO-1", "VIREO-OLD", "FORWARD", "INPUT", "POSTROUTING"),
        how: fc.constantFrom(...damages),
      }),
      { maxLength: 3 },
    ),
  })
  .map(({ foreign, earlier, other, damage }) => {
    let tables = withChain(nobody, "filter", "KUBE-FORWARD", foreign);
    tables = withChain(tables, "filter", "FORWARD", foreign);
    if (earlier !== null) tables = apply(tables, plan(OWNER, rulesOf(OWNER, 20, earlier), tables));
    if (other !== null) tables = apply(tables, plan(OTHER, rulesOf(OTHER, other, [1]), tables));
    for (const { table, chain, how } of damage) {
      const rules = tables[table].get(chain);
      if (rules !== undefined || chain === "VIREO-OLD")
        tables = withChain(tables, table, chain, damaged(rules ?? [], how));
    }
    return tables;
  });

const isOurs = (rule: string): boolean => /--comment vireo:[0-9a-f]{16}:20 -j VIREO-/.test(rule);
const foreignPart = (tables: ObservedTables): unknown =>
  [tables.nat, tables.filter].map((table) =>
    [...table].flatMap(([chain, rules]) =>
      chain.startsWith("VIREO-") ? [] : [[chain, rules.filter((rule) => !isOurs(rule))]],
    ),
  );

describe("the plan for iptables", () => {
  test("leads from any tables to the wanted rules, in which nothing is left to do", () => {
    fc.assert(
      fc.property(anyTables, wantedRules, (tables, wanted) => {
        const end = apply(tables, plan(OWNER, wanted, tables));
        expect(plan(OWNER, wanted, end)).toEqual({});
        for (const table of ["nat", "filter"] as const) {
          const chains = wanted[table]?.chains ?? new Map<string, readonly string[]>();
          const own = [...end[table]].filter(([chain]) => chain.startsWith("VIREO-"));
          const bare = own.map(
            ([chain, rules]) =>
              [chain, rules.map((rule) => rule.replace(/^-m comment --comment \S+ /, ""))] as const,
          );
          expect(new Map(bare)).toEqual(chains);
        }
      }),
    );
  });

  test("leaves the rules of others as they are, and in their order", () => {
    fc.assert(
      fc.property(anyTables, wantedRules, (tables, wanted) => {
        expect(foreignPart(apply(tables, plan(OWNER, wanted, tables)))).toEqual(foreignPart(tables));
      }),
    );
  });

  test("comes before all rules of others, in a place that two owners do not dispute", () => {
    fc.assert(
      fc.property(anyTables, otherOrder, fc.boolean(), (tables, order, otherFirst) => {
        const ours = rulesOf(OWNER, 20, [1]);
        const theirs = rulesOf(OTHER, order, [1]);
        const passes = [
          (now: ObservedTables) => apply(now, plan(OWNER, ours, now)),
          (now: ObservedTables) => apply(now, plan(OTHER, theirs, now)),
        ];
        let end = tables;
        for (const pass of otherFirst ? passes.toReversed() : passes) end = pass(end);
        for (const pass of passes) end = pass(end);
        expect(plan(OWNER, ours, end)).toEqual({});
        expect(plan(OTHER, theirs, end)).toEqual({});
        const first = order < 20 ? "VIREOFIP-" : "VIREO-";
        const second = order < 20 ? "VIREO-" : "VIREOFIP-";
        const targets = end.filter.get("FORWARD")?.slice(0, 2).map(targetOf);
        expect(targets).toEqual([`${first}FORWARD`, `${second}FORWARD`]);
      }),
    );
  });

  test("is the same from what is known to be there as from a look at it", () => {
    fc.assert(
      fc.property(numbers, numbers, (before, after) => {
        const [known, wanted] = [rulesOf(OWNER, 20, before), rulesOf(OWNER, 20, after)];
        const there = apply(nobody, plan(OWNER, known, nobody));
        const changes = planFromKnown(OWNER, wanted, known);
        expect(changes).toBeDefined();
        expect(apply(there, changes ?? {})).toEqual(apply(there, plan(OWNER, wanted, there)));
      }),
    );
  });

  test("needs a look when a hook comes or goes", () => {
    expect(planFromKnown(OWNER, {}, rulesOf(OWNER, 20, []))).toBeUndefined();
    expect(planFromKnown(OWNER, rulesOf(OWNER, 10, []), rulesOf(OWNER, 20, []))).toBeUndefined();
  });

  test("touches only chains and tables that differ", () => {
    const before = rulesOf(OWNER, 20, [1, 2]);
    const there = apply(nobody, plan(OWNER, before, nobody));
    const wanted = { ...before, filter: rulesOf(OWNER, 20, [1, 2, 3]).filter };
    const changes = plan(OWNER, wanted, there);
    expect(Object.keys(changes)).toEqual(["filter"]);
    expect(new Set(changes.filter?.map(({ chain }) => chain))).toEqual(
      new Set(["VIREO-FORWARD", "VIREO-INPUT", "VIREO-3"]),
    );
  });

  test("notices a rule that changed its place", () => {
    const wanted = rulesOf(OWNER, 20, [1, 2]);
    const there = apply(nobody, plan(OWNER, wanted, nobody));
    const filter = new Map(there.filter);
    filter.set("VIREO-1", filter.get("VIREO-1")?.toReversed() ?? []);
    const changes = plan(OWNER, wanted, { ...there, filter });
    expect(new Set(changes.filter?.map(({ chain }) => chain))).toEqual(new Set(["VIREO-1"]));
  });
});

describe("the text of iptables", () => {
  test("is written for one restore", () => {
    const changes: Changes = {
      filter: [
        { kind: "empty-chain", chain: "VIREO-A" },
        { kind: "append-rule", chain: "VIREO-A", rule: "-j DROP" },
        { kind: "delete-rule", chain: "FORWARD", rule: "-j VIREO-B" },
        { kind: "insert-rule", chain: "FORWARD", place: 2, rule: "-j VIREO-A" },
        { kind: "delete-chain", chain: "VIREO-B" },
      ],
      raw: [{ kind: "empty-chain", chain: "VIREO-C" }],
    };
    expect(renderChanges(changes)).toBe(`*raw
:VIREO-C - [0:0]
COMMIT

*filter
:VIREO-A - [0:0]
-A VIREO-A -j DROP
-D FORWARD -j VIREO-B
-I FORWARD 2 -j VIREO-A
-X VIREO-B
COMMIT
`);
  });

  test("is read as tables, their chains and their rules", () => {
    const text = `# Generated by iptables-save v1.8.9
*security
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -j DROP
COMMIT
*filter
:INPUT DROP [12:3456]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:VIREO-A - [0:0]
-A FORWARD -m comment --comment "vireo:0123456789abcdef:10" -j VIREO-A
-A VIREO-A ! -s 10.0.0.1/32 -j DROP
-A VIREO-A
COMMIT
`;
    const { raw, filter } = parseTables(text);
    expect(Object.fromEntries(raw)).toEqual({ PREROUTING: ["-j DROP"], OUTPUT: [] });
    expect(Object.fromEntries(filter)).toEqual({
      INPUT: [],
      FORWARD: ['-m comment --comment "vireo:0123456789abcdef:10" -j VIREO-A'],
      OUTPUT: [],
      "VIREO-A": ["! -s 10.0.0.1/32 -j DROP", ""],
    });
  });

  test("has the built-in chains where nobody has used the table", () => {
    expect([...parseTables("").raw.keys()]).toEqual(["PREROUTING", "OUTPUT"]);
  });
});
