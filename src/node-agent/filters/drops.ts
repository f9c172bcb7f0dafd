import type { RuleCounter } from "../host/iptables/index.ts";
import { OWNER } from "./owner.ts";

/** Why a packet was refused. */
export const dropReasons = ["sender", "revoked", "invalid", "node", "network", "egress", "ingress"] as const;
/**
 * sender: a guest pretended to be another. revoked: in a connection that is no
 * longer allowed. invalid: in no connection that the kernel knows. node: to a
 * node, or to a link-local address. network: to another Network. egress and
 * ingress: no group of the sender, or of the receiver, allows it.
 */
export type DropReason = (typeof dropReasons)[number];

/** Packets refused, by reason. */
export type Drops = Readonly<Record<DropReason, number>>;

const CHAIN_REASONS: readonly (readonly [pattern: RegExp, reason: DropReason])[] = [
  [/^(S|SENDER)(-|$)/, "sender"],
  [/^(NET|ISOLATION)(-|$)/, "network"],
  [/^(E|EGRESS)(-|$)/, "egress"],
  [/^(I|INGRESS|H|HAIRPIN)(-|$)/, "ingress"],
];

/** Undefined for a rule that refuses nothing. */
export const dropReason = ({ chain, rule }: Pick<RuleCounter, "chain" | "rule">): DropReason | undefined => {
  if (!/ ?-j (DROP|REJECT)\b/.test(rule)) return undefined;
  const name = chain.slice(OWNER.prefix.length);
  const byChain = CHAIN_REASONS.find(([pattern]) => pattern.test(name))?.[1];
  if (byChain !== undefined) return byChain;
  if (rule.includes("connmark")) return "revoked";
  return rule.includes("INVALID") ? "invalid" : "node";
};

const none = (): Record<DropReason, number> => ({
  sender: 0,
  revoked: 0,
  invalid: 0,
  node: 0,
  network: 0,
  egress: 0,
  ingress: 0,
});

/**
 * Sums up what the rules have refused, over all changes of the chains: a
 * chain that is written anew counts from zero. What it had counted since the
 * last look is not known then, so that the sums are lower bounds.
 */
export const createDropCounter = (): ((counters: readonly RuleCounter[]) => Drops) => {
  const total = none();
  let last: ReadonlyMap<string, number> = new Map();
  return (counters) => {
    const next = new Map<string, number>();
    for (const counter of counters) {
      const reason = dropReason(counter);
      if (reason === undefined) continue;
      const { table, chain, rule, packets } = counter;
      const key = `${table} ${chain} ${rule}`;
      const before = last.get(key) ?? 0;
      total[reason] += packets < before ? packets : packets - before;
      next.set(key, packets);
    }
    last = next;
    return { ...total };
  };
};
