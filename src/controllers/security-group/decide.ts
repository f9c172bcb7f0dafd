import { type Condition, findCondition } from "../../api/condition.ts";
import { SECURITY_GROUP_FINALIZER } from "../../api/security-group.ts";
import type { Announcement } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import type { GroupFacts } from "./observe.ts";
import { groupStatus, type GroupStatus } from "./status.ts";

/**
 * What follows from machines that come and go is written at most this often, in
 * ms: a hundred that join at once cost a few writes.
 */
export const COUNT_INTERVAL_MS = 5_000;

/** Nobody tells when an object that could not be understood can be again. */
const UNREADABLE_RETRY_MS = 30_000;

export type GroupStep =
  /** The list as it is to be. */
  | { readonly kind: "write-finalizers"; readonly finalizers: readonly string[] }
  | { readonly kind: "apply-status"; readonly status: GroupStatus }
  | { readonly kind: "announce"; readonly announcement: Announcement };

export interface GroupDecision {
  /** In this order; a later one is not taken when an earlier one fails. */
  readonly steps: readonly GroupStep[];
  /** Look again after this time, in ms. */
  readonly requeueAfterMs?: number;
}

/**
 * What to do about a group. Pure: once it is carried out there is nothing more
 * to do. Rules stay in force while a machine is in the group: it goes when none is.
 */
export const decideGroup = (facts: GroupFacts, now: Date): GroupDecision => {
  const { metadata } = facts.group;
  const isLeaving = metadata.deletionTimestamp !== undefined;
  const finalizers = metadata.finalizers ?? [];
  const isHeld = finalizers.includes(SECURITY_GROUP_FINALIZER);
  if (isLeaving && facts.members.length === 0 && facts.unreadable === 0) {
    const others = finalizers.filter((finalizer) => finalizer !== SECURITY_GROUP_FINALIZER);
    return { steps: isHeld ? [{ kind: "write-finalizers", finalizers: others }] : [] };
  }
  // The API server takes no new finalizer once the deletion was asked for.
  const hold: readonly GroupStep[] =
    isHeld || isLeaving
      ? []
      : [{ kind: "write-finalizers", finalizers: [...finalizers, SECURITY_GROUP_FINALIZER] }];
  const { steps, waitMs } = decideStatus(facts, now);
  const retryMs = waitMs ?? (isLeaving && facts.unreadable > 0 ? UNREADABLE_RETRY_MS : undefined);
  return { steps: [...hold, ...steps], ...(retryMs !== undefined && { requeueAfterMs: retryMs }) };
};

const decideStatus = (
  facts: GroupFacts,
  now: Date,
): { readonly steps: readonly GroupStep[]; readonly waitMs?: number } => {
  const stored = facts.group.status;
  const status = groupStatus(facts, now);
  if (isSameStatus(stored, status)) return { steps: [] };
  const waitMs = COUNT_INTERVAL_MS - (facts.sinceWriteMs ?? COUNT_INTERVAL_MS);
  if (waitMs > 0 && !isUrgent(stored, status)) return { steps: [], waitMs };
  const announcements = announcementsFor(stored?.conditions, status.conditions ?? []);
  return {
    steps: [
      { kind: "apply-status", status },
      ...announcements.map((announcement): GroupStep => ({ kind: "announce", announcement })),
    ],
  };
};

/**
 * Does somebody wait for this news? Another version of the rules is, a verdict
 * that changes is. Not urgent are counts, which node a message names, and that
 * rules are on their way to a node because a first machine has come to it: no
 * guest starts there without them.
 */
const isUrgent = (stored: GroupStatus | undefined, status: GroupStatus): boolean => {
  if (stored?.observedGeneration !== status.observedGeneration) return true;
  const hasJoined = isInForce(stored?.conditions) && !isInForce(status.conditions);
  const about = (type: string): boolean => !(hasJoined && (type === "Ready" || type === "Reconciling"));
  return verdicts(stored?.conditions, about) !== verdicts(status.conditions, about);
};

const isInForce = (conditions: readonly Condition[] | undefined): boolean =>
  findCondition(conditions, "Ready")?.status === "True";

const verdicts = (conditions: readonly Condition[] | undefined, about: (type: string) => boolean): string =>
  (conditions ?? [])
    .filter(({ type }) => about(type))
    .map(({ type, status, reason }) => `${type}=${status} ${reason}`)
    .toSorted()
    .join();

/** That a group is held, and rules that allow nothing against what their author meant, once each. */
const announcementsFor = (
  before: readonly Condition[] | undefined,
  after: readonly Condition[],
): readonly Announcement[] =>
  ["InUse", "RemoteGroupNotFound"].flatMap((type) => {
    const news = findCondition(after, type);
    if (news === undefined || findCondition(before, type)?.reason === news.reason) return [];
    return [{ type: "Warning" as const, reason: type, message: news.message }];
  });
