import {
  fingerprintOf,
  fingerprints,
  isChainOf,
  isJumpBefore,
  isJumpOf,
  isJumpOfHook,
  signed,
  signedJump,
} from "./owner.ts";
import {
  type Change,
  type ChainOwner,
  type Changes,
  type Hook,
  type ObservedTable,
  type ObservedTables,
  type RuleSet,
  type Rules,
  type Table,
  TABLES,
} from "./types.ts";

/** The difference between the rules that are to be and those that are. */

const nothing: RuleSet = { chains: new Map(), hooks: [] };

/** The chains of the owner that are there, and whether one holds just these rules. */
interface Present {
  readonly chains: readonly string[];
  holds(chain: string, rules: readonly string[]): boolean;
}

const isAsObserved = (
  owner: ChainOwner,
  chain: string,
  rules: readonly string[],
  observed: readonly string[] | undefined,
): boolean => {
  if (observed?.length !== rules.length) return false;
  const wanted = fingerprints(chain, rules);
  return observed.every((rule, index) => fingerprintOf(owner, rule) === wanted[index]);
};

const observedPresent = (owner: ChainOwner, observed: ObservedTable): Present => ({
  chains: [...observed.keys()].filter((chain) => isChainOf(owner, chain)),
  holds: (chain, rules) => isAsObserved(owner, chain, rules, observed.get(chain)),
});

const knownPresent = ({ chains }: RuleSet): Present => ({
  chains: [...chains.keys()],
  holds: (chain, rules) => {
    const known = chains.get(chain);
    return known === rules || (known?.length === rules.length && rules.every((rule, i) => rule === known[i]));
  },
});

const appendRules = (owner: ChainOwner, chain: string, rules: readonly string[]): readonly Change[] =>
  fingerprints(chain, rules).map((fingerprint, index) => ({
    kind: "append-rule",
    chain,
    rule: signed(owner, fingerprint, rules[index] ?? ""),
  }));

/**
 * The order is that of one iptables-restore: chains before what jumps to them,
 * and chains are deleted when nothing jumps to them any more. Chains that are
 * as they should be are left alone, with their counters.
 */
const planTable = (
  owner: ChainOwner,
  wanted: RuleSet,
  present: Present,
  jumps: readonly Change[],
): readonly Change[] => {
  const changed = [...wanted.chains].filter(([chain, rules]) => !present.holds(chain, rules));
  const surplus = present.chains.filter((chain) => !wanted.chains.has(chain));
  const emptied = [...changed.map(([chain]) => chain), ...surplus];
  return [
    ...emptied.map((chain): Change => ({ kind: "empty-chain", chain })),
    ...changed.flatMap(([chain, rules]) => appendRules(owner, chain, rules)),
    ...jumps,
    ...surplus.map((chain): Change => ({ kind: "delete-chain", chain })),
  ];
};

/**
 * The owner's jumps in one chain of somebody else: none, or one that comes
 * before all rules of others, except for jumps of ours with a lower order.
 */
const planJumps = (
  owner: ChainOwner,
  chain: string,
  hook: Hook | undefined,
  observed: readonly string[],
): readonly Change[] => {
  const own = observed.filter((rule) => isJumpOf(owner, rule));
  const deletions = own.map((rule): Change => ({ kind: "delete-rule", chain, rule }));
  if (hook === undefined) return deletions;
  const others = observed.filter((rule) => !isJumpOf(owner, rule));
  const firstBehind = others.findIndex((rule) => !isJumpBefore(owner, hook, rule));
  const index = firstBehind === -1 ? others.length : firstBehind;
  if (own.length === 1 && isJumpOfHook(owner, hook, observed[index] ?? "")) return [];
  return [...deletions, { kind: "insert-rule", chain, place: index + 1, rule: signedJump(owner, hook) }];
};

const planObservedTable = (
  owner: ChainOwner,
  wanted: RuleSet,
  observed: ObservedTable,
): readonly Change[] => {
  const hooks = new Map(wanted.hooks.map((hook) => [hook.builtIn, hook]));
  const jumps = [...observed].flatMap(([chain, rules]) =>
    isChainOf(owner, chain) ? [] : planJumps(owner, chain, hooks.get(chain), rules),
  );
  return planTable(owner, wanted, observedPresent(owner, observed), jumps);
};

const eachTable = (planOne: (table: Table) => readonly Change[]): Changes =>
  Object.fromEntries(
    TABLES.map((table) => [table, planOne(table)] as const).filter(([, changes]) => changes.length > 0),
  );

/** The changes that make the tables hold `wanted` and nothing else of the owner's. */
export const plan = (owner: ChainOwner, wanted: Rules, observed: ObservedTables): Changes =>
  eachTable((table) => planObservedTable(owner, wanted[table] ?? nothing, observed[table]));

const sameHooks = (one: RuleSet, other: RuleSet): boolean =>
  JSON.stringify(one.hooks) === JSON.stringify(other.hooks);

/**
 * The changes from rules that are known to be there, without a look at the
 * tables. Undefined when a look is needed: hooks have their place among rules of others.
 */
export const planFromKnown = (owner: ChainOwner, wanted: Rules, known: Rules): Changes | undefined => {
  const isKnown = (table: Table): boolean => sameHooks(wanted[table] ?? nothing, known[table] ?? nothing);
  if (!TABLES.every(isKnown)) return undefined;
  return eachTable((table) =>
    planTable(owner, wanted[table] ?? nothing, knownPresent(known[table] ?? nothing), []),
  );
};
