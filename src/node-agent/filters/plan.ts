import { fingerprintMatch, fingerprintOf, fingerprints, isOurChain, isOurJump } from "./owner.ts";
import type { RuleSet } from "./rules.ts";

/** The filter table as iptables-save prints it: the rules of each chain, without "-A CHAIN". */
export type ObservedTable = ReadonlyMap<string, readonly string[]>;

export type Change =
  /** Makes the chain, or empties it when it exists. */
  | { readonly kind: "empty-chain"; readonly chain: string }
  | { readonly kind: "append-rule"; readonly chain: string; readonly rule: string }
  | { readonly kind: "insert-first"; readonly chain: string; readonly rule: string }
  | { readonly kind: "delete-rule"; readonly chain: string; readonly rule: string }
  | { readonly kind: "delete-chain"; readonly chain: string };

const isAsWanted = (wanted: readonly string[], observed: readonly string[] | undefined): boolean =>
  observed !== undefined &&
  observed.length === wanted.length &&
  observed.every((rule, index) => fingerprintOf(rule) === wanted[index]);

const planChain = (chain: string, rules: readonly string[], observed: ObservedTable): readonly Change[] => {
  const marks = fingerprints(chain, rules);
  if (isAsWanted(marks, observed.get(chain))) return [];
  return [
    { kind: "empty-chain", chain },
    ...marks.map((mark, index): Change => {
      const rule = `${fingerprintMatch(mark)} ${rules[index]}`;
      return { kind: "append-rule", chain, rule };
    }),
  ];
};

/** Our jumps in one chain of somebody else: one, in the first place, or none. */
const planJumps = (
  chain: string,
  target: string | undefined,
  observed: readonly string[],
): readonly Change[] => {
  const ours = observed.filter(isOurJump);
  const deletions = ours.map((rule): Change => ({ kind: "delete-rule", chain, rule }));
  if (target === undefined) return deletions;
  const [mark = ""] = fingerprints(chain, [`-j ${target}`]);
  const [first = ""] = observed;
  if (ours.length === 1 && fingerprintOf(first) === mark) return [];
  return [...deletions, { kind: "insert-first", chain, rule: `${fingerprintMatch(mark)} -j ${target}` }];
};

/**
 * The changes that make the table hold `wanted` and nothing else of ours.
 *
 * Their order is that of one iptables-restore: chains before what jumps to
 * them, and chains are deleted when nothing jumps to them any more. Chains
 * that are as they should be are left alone, with their counters.
 */
export const plan = (wanted: RuleSet, observed: ObservedTable): readonly Change[] => {
  const changed = [...wanted.chains].flatMap(([chain, rules]) => planChain(chain, rules, observed));
  const surplus = [...observed.keys()].filter((chain) => isOurChain(chain) && !wanted.chains.has(chain));
  const targets = new Map(wanted.hooks.map(({ builtIn, chain }) => [builtIn, chain]));
  const jumps = [...observed].flatMap(([chain, rules]) =>
    isOurChain(chain) ? [] : planJumps(chain, targets.get(chain), rules),
  );
  return [
    ...changed.filter(({ kind }) => kind === "empty-chain"),
    ...surplus.map((chain): Change => ({ kind: "empty-chain", chain })),
    ...changed.filter(({ kind }) => kind !== "empty-chain"),
    ...jumps,
    ...surplus.map((chain): Change => ({ kind: "delete-chain", chain })),
  ];
};
