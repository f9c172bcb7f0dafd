import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import { type Draft, notReady, observed, ready, stalled } from "../conditions.ts";
import { poolAddresses } from "./addresses.ts";
import type { PoolFacts } from "./observe.ts";

export type PoolStatus = NonNullable<FloatingIpPool["status"]>;

/** FloatingIPs that a message names; the rest is counted. */
const MAX_NAMED = 8;

/** The whole status of a pool. */
export const poolStatus = (facts: PoolFacts, now: Date): PoolStatus => {
  const { capacity } = poolAddresses(facts.pool.spec);
  return {
    ...observed(facts.pool, draftsFor(facts, capacity), now),
    addresses: { capacity, allocated: facts.allocated },
  };
};

const draftsFor = (
  { pool, users, overlapping, unreadable }: PoolFacts,
  capacity: number,
): readonly Draft[] => {
  if (pool.metadata.deletionTimestamp !== undefined)
    return users.length > 0
      ? notReady("InUse", `It goes when these FloatingIPs are deleted: ${listed(users)}.`)
      : notReady("UnreadableFloatingIPs", unreadableMessage(unreadable));
  if (capacity === 0)
    return stalled("NoAddresses", "All addresses of cidrs are in exclude. Change one of the two.");
  const note =
    overlapping.length === 0
      ? ""
      : ` It has addresses in common with ${listed(overlapping)}; each is given out once.`;
  return ready("Valid", `Addresses can be taken from it.${note}`);
};

const unreadableMessage = (count: number): string =>
  `It is kept, because the controller cannot understand ${count === 1 ? "a FloatingIP" : `${count} FloatingIPs`} and so does not know whose addresses are in use; its log says more. Is it older than the CustomResourceDefinitions?`;

const listed = (names: readonly string[]): string => {
  const rest = names.length - MAX_NAMED;
  return `${names.slice(0, MAX_NAMED).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
};
