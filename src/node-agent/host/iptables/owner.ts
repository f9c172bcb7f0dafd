import { hash } from "node:crypto";

import type { ChainOwner, Hook } from "./types.ts";

/**
 * How a freshly started agent knows its own chains and rules.
 *
 * A chain belongs to the owner whose prefix it has. Every rule that we write
 * carries a comment with the owner's tag and a fingerprint of the rule itself
 * and of all rules before it in its chain: chains are compared by
 * fingerprints, since iptables-save prints rules in words that differ between
 * versions and backends. A jump from a built-in chain is known by its comment
 * and target, and its comment also says its order among the jumps of our
 * owners. All other rules belong to somebody else.
 */

const COMMENT = /--comment "?(vireo[a-z]*):([0-9a-f]{16})(?::(\d{1,2}))?"?(?: |$)/;
const TARGET = / -[jg] (VIREO\S*)$/;

/** What the comment of a rule of ours says. */
interface RuleMark {
  readonly tag: string;
  readonly fingerprint: string;
  /** Of a jump from a built-in chain. */
  readonly order: number | undefined;
}

const markOf = (rule: string): RuleMark | undefined => {
  const [, tag, fingerprint, order] = COMMENT.exec(rule) ?? [];
  if (tag === undefined || fingerprint === undefined) return undefined;
  return { tag, fingerprint, order: order === undefined ? undefined : Number(order) };
};

export const isChainOf = ({ prefix }: ChainOwner, chain: string): boolean => chain.startsWith(prefix);

/** The fingerprint in a rule as iptables-save prints it; undefined for a rule that the owner did not write. */
export const fingerprintOf = ({ tag }: ChainOwner, rule: string): string | undefined => {
  const mark = markOf(rule);
  return mark?.tag === tag ? mark.fingerprint : undefined;
};

/** The fingerprints of a chain's rules, in their order: each is made of the rule and the fingerprint before it. */
export const fingerprints = (chain: string, rules: readonly string[]): readonly string[] => {
  let before = chain;
  return rules.map((rule) => {
    before = hash("sha256", `${before}\n${rule}`).slice(0, 16);
    return before;
  });
};

/** The rule with the comment that carries its fingerprint. */
export const signed = ({ tag }: ChainOwner, fingerprint: string, rule: string): string =>
  `-m comment --comment ${tag}:${fingerprint} ${rule}`;

const jumpFingerprint = ({ builtIn, chain }: Hook): string => fingerprints(builtIn, [`-j ${chain}`])[0] ?? "";

/** The jump of a hook, with the comment that carries its fingerprint and its order. */
export const signedJump = (owner: ChainOwner, hook: Hook): string =>
  signed(owner, `${jumpFingerprint(hook)}:${hook.order}`, `-j ${hook.chain}`);

/** Whether a rule, as iptables-save prints it, is a jump of the owner's to a chain of the owner's. */
export const isJumpOf = (owner: ChainOwner, rule: string): boolean => {
  const [, target] = TARGET.exec(rule) ?? [];
  return target !== undefined && isChainOf(owner, target) && markOf(rule)?.tag === owner.tag;
};

/** Whether a rule, as iptables-save prints it, is the jump of this hook. */
export const isJumpOfHook = (owner: ChainOwner, hook: Hook, rule: string): boolean => {
  const mark = markOf(rule);
  return isJumpOf(owner, rule) && mark?.fingerprint === jumpFingerprint(hook) && mark.order === hook.order;
};

/** Whether a rule is a jump of another owner of ours that comes before the hook. */
export const isJumpBefore = (owner: ChainOwner, hook: Hook, rule: string): boolean => {
  const mark = markOf(rule);
  if (mark?.order === undefined || mark.tag === owner.tag || !TARGET.test(rule)) return false;
  // Two owners with one order would push each other aside for ever.
  return mark.order === hook.order ? mark.tag < owner.tag : mark.order < hook.order;
};
