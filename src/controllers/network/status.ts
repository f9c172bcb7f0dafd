import type { Network } from "../../api/network.ts";
import { type Draft, draftOf, observed, ready, stalled } from "../conditions.ts";
import { formatAddress } from "../../api/ipv4.ts";
import { addressPool } from "../ipam/pool.ts";
import { judgeNetwork } from "./judge.ts";
import type { AddressClash, NetworkFacts } from "./observe.ts";

export type NetworkStatus = NonNullable<Network["status"]>;

/** The whole status of a Network. */
export const networkStatus = (facts: NetworkFacts, now: Date): NetworkStatus => {
  const { network, networks, allocated, clashes } = facts;
  const pool = addressPool(network.spec);
  const verdict = judgeNetwork(network, networks);
  const drafts =
    verdict.kind === "usable"
      ? ready("Valid", "Machines may use it.")
      : stalled(verdict.reason, verdict.message);
  return {
    ...observed(network, [...drafts, ...clashDrafts(clashes)], now),
    gateway: formatAddress(pool.gateway),
    addresses: { capacity: pool.capacity, allocated },
  };
};

/** Only there when something is wrong. */
const clashDrafts = (clashes: readonly AddressClash[]): readonly Draft[] => {
  const [first] = clashes;
  if (first === undefined) return [];
  const message = `${first.address} was given to ${first.machines.join(" and ")}. Delete one of them, and report this: it must not happen.`;
  return [draftOf("AddressConflict", "True", "DoubleAddress", message)];
};
