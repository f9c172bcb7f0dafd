import { FLOATING_IP_POOL_FINALIZER } from "../../api/floating-ip-pool.ts";
import { type Announcement, announceTrouble } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import type { PoolFacts } from "./observe.ts";
import { poolStatus, type PoolStatus } from "./status.ts";

/** Counts of addresses are written at most this often, in ms: a hundred FloatingIPs made at once cost two writes. */
export const COUNT_INTERVAL_MS = 5_000;

/** Nobody tells when an object that could not be understood can be again. */
const UNREADABLE_RETRY_MS = 30_000;

export type PoolStep =
  /** The list as it is to be. */
  | { readonly kind: "write-finalizers"; readonly finalizers: readonly string[] }
  | { readonly kind: "apply-status"; readonly status: PoolStatus }
  | { readonly kind: "announce"; readonly announcement: Announcement };

export interface PoolDecision {
  /** In this order; a later one is not taken when an earlier one fails. */
  readonly steps: readonly PoolStep[];
  /** Look again after this time, in ms: the count was written a moment ago. */
  readonly requeueAfterMs?: number;
}

/** What to do about a pool. Pure: once it is carried out there is nothing more to do. */
export const decidePool = (facts: PoolFacts, now: Date): PoolDecision => {
  const { metadata } = facts.pool;
  const finalizers = metadata.finalizers ?? [];
  const isHeld = finalizers.includes(FLOATING_IP_POOL_FINALIZER);
  if (metadata.deletionTimestamp !== undefined && facts.users.length === 0 && facts.unreadable === 0) {
    const others = finalizers.filter((finalizer) => finalizer !== FLOATING_IP_POOL_FINALIZER);
    return { steps: isHeld ? [{ kind: "write-finalizers", finalizers: others }] : [] };
  }
  // The API server takes no new finalizer once the deletion was asked for.
  const hold: readonly PoolStep[] =
    isHeld || metadata.deletionTimestamp !== undefined
      ? []
      : [{ kind: "write-finalizers", finalizers: [...finalizers, FLOATING_IP_POOL_FINALIZER] }];
  const { steps, requeueAfterMs } = decideStatus(facts, now);
  const retryMs = facts.unreadable > 0 ? UNREADABLE_RETRY_MS : requeueAfterMs;
  return { steps: [...hold, ...steps], ...(retryMs !== undefined && { requeueAfterMs: retryMs }) };
};

const decideStatus = (facts: PoolFacts, now: Date): PoolDecision => {
  const stored = facts.pool.status;
  const status = poolStatus(facts, now);
  if (isSameStatus(stored, status)) return { steps: [] };
  const waitMs = COUNT_INTERVAL_MS - (facts.sinceWriteMs ?? COUNT_INTERVAL_MS);
  if (waitMs > 0 && isSameStatus({ ...stored, addresses: status.addresses }, status))
    return { steps: [], requeueAfterMs: waitMs };
  const announcements = announceTrouble("Ready", stored?.conditions, status.conditions ?? []);
  return {
    steps: [
      { kind: "apply-status", status },
      ...announcements.map((announcement): PoolStep => ({ kind: "announce", announcement })),
    ],
  };
};
