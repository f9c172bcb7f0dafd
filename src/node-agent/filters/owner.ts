import { createHash } from "node:crypto";

/**
 * How a freshly started agent knows its own chains and rules.
 *
 * A chain is ours by its prefix. Every rule that we write carries a comment
 * with a fingerprint of itself and of all rules before it in its chain: chains
 * are compared by fingerprints, since iptables-save prints rules in words that
 * differ between versions and backends. The jumps from the built-in chains are
 * ours by their comment and target; all other rules belong to somebody else.
 */

const CHAIN_PREFIX = "VIREO-";

/** Hooks: the built-in chains jump here. */
export const FORWARD_CHAIN = `${CHAIN_PREFIX}FORWARD`;
export const INPUT_CHAIN = `${CHAIN_PREFIX}INPUT`;
/** Dispatch what comes from a guest, and what goes to one, to the chains of its tap. */
export const EGRESS_CHAIN = `${CHAIN_PREFIX}EGRESS`;
export const INGRESS_CHAIN = `${CHAIN_PREFIX}INGRESS`;

/** At most 28 characters for a chain's name; a tap's has at most 15. */
export const egressChain = (tap: string): string => `${CHAIN_PREFIX}E-${tap}`;
export const ingressChain = (tap: string): string => `${CHAIN_PREFIX}I-${tap}`;

export const isOurChain = (chain: string): boolean => chain.startsWith(CHAIN_PREFIX);

const FINGERPRINT = /--comment "?vireo:([0-9a-f]{16})"?(?: |$)/;

/** The fingerprint in a rule as iptables-save prints it; undefined for a rule that we did not write. */
export const fingerprintOf = (rule: string): string | undefined => FINGERPRINT.exec(rule)?.[1];

/** The fingerprints of a chain's rules, in their order. */
export const fingerprints = (chain: string, rules: readonly string[]): readonly string[] => {
  const hash = createHash("sha256").update(chain);
  return rules.map((rule) => hash.update(`\n${rule}`).copy().digest("hex").slice(0, 16));
};

/** Words of a rule that carry its fingerprint. */
export const fingerprintMatch = (fingerprint: string): string => `-m comment --comment vireo:${fingerprint}`;

/** Whether a rule, as iptables-save prints it, is a jump of ours to a chain of ours. */
export const isOurJump = (rule: string): boolean =>
  fingerprintOf(rule) !== undefined && / -[jg] VIREO-\S+$/.test(rule);
