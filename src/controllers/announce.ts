import { type Condition, findCondition } from "../api/condition.ts";
import type { EventType } from "../kube/index.ts";

/** An event of Kubernetes before it has an object. */
export interface Announcement {
  readonly type: EventType;
  /** One CamelCase word. */
  readonly reason: string;
  readonly message: string;
}

/**
 * The event that a change of a condition deserves: a Warning when it is no
 * longer True, or when something else is said of why. Conditions that become
 * True are good news that nobody waits for in the events.
 */
export const announceTrouble = (
  type: string,
  before: readonly Condition[] | undefined,
  after: readonly Condition[],
): readonly Announcement[] => {
  const now = findCondition(after, type);
  if (now === undefined || now.status === "True") return [];
  const then = findCondition(before, type);
  if (then?.status === now.status && then.reason === now.reason && then.message === now.message) return [];
  return [{ type: "Warning", reason: now.reason, message: now.message }];
};
