import { findCondition } from "../../api/condition.ts";
import { type Announcement, announceTrouble } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import type { NetworkFacts } from "./observe.ts";
import { networkStatus, type NetworkStatus } from "./status.ts";

/**
 * Counts of addresses are written at most this often, in ms: a hundred machines
 * made at once cost two writes here, one at the start and one at the end.
 */
export const COUNT_INTERVAL_MS = 5_000;

export type NetworkDecision =
  | { readonly kind: "nothing" }
  /** The count has changed, and was written a moment ago. */
  | { readonly kind: "later"; readonly afterMs: number }
  | {
      readonly kind: "write";
      readonly status: NetworkStatus;
      readonly announcements: readonly Announcement[];
    };

export const decideNetwork = (facts: NetworkFacts, now: Date): NetworkDecision => {
  const stored = facts.network.status;
  const status = networkStatus(facts, now);
  if (isSameStatus(stored, status)) return { kind: "nothing" };
  const waitMs = COUNT_INTERVAL_MS - (facts.sinceWriteMs ?? COUNT_INTERVAL_MS);
  if (waitMs > 0 && isSameStatus({ ...stored, addresses: status.addresses }, status))
    return { kind: "later", afterMs: waitMs };
  return { kind: "write", status, announcements: announcementsFor(facts, status) };
};

const announcementsFor = ({ network }: NetworkFacts, status: NetworkStatus): readonly Announcement[] => {
  const before = network.status?.conditions;
  const clash = findCondition(status.conditions, "AddressConflict");
  const isNews = clash !== undefined && findCondition(before, "AddressConflict")?.message !== clash.message;
  return [
    ...announceTrouble("Ready", before, status.conditions ?? []),
    ...announceTrouble("PeersReady", before, status.conditions ?? []),
    ...(isNews ? [{ type: "Warning" as const, reason: "AddressConflict", message: clash.message }] : []),
  ];
};
