import { z } from "zod";
import { conditionObservedGeneration, text, timestamp } from "./fields.ts";

export const conditionStatuses = ["True", "False", "Unknown"] as const;
export type ConditionStatus = (typeof conditionStatuses)[number];

/**
 * metav1.Condition, with kstatus' meaning of Ready, Reconciling and Stalled.
 * https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
 *
 * A condition has one owner as a whole (atomic): a writer that takes over Ready
 * and later says nothing of it takes all of it away. Owned field by field, what
 * the writer before had said alike would stay, as a condition without a status,
 * which the API server refuses.
 */
export const condition = z
  .object({
    type: z
      .string()
      .min(1)
      .max(316)
      .regex(
        /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/,
      )
      .describe("What the condition is about, in CamelCase, such as Ready or Scheduled."),
    status: z.enum(conditionStatuses).describe("Whether the condition holds: True, False, or Unknown."),
    observedGeneration: conditionObservedGeneration,
    lastTransitionTime: timestamp.describe("When the condition's status last changed."),
    reason: z
      .string()
      .min(1)
      .max(1024)
      .regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/)
      .describe("Why, in one CamelCase word that programs may compare."),
    message: text(32_768).describe("Why, in a sentence for people, with what to do about it."),
  })
  .meta({ "x-kubernetes-map-type": "atomic" });

export type Condition = Readonly<z.infer<typeof condition>>;

/** A machine has up to 14 of Vireo's; the rest is for the tools of others, which may add theirs. */
const MAX_CONDITIONS = 32;

/** status.conditions: a map keyed by type, so that several writers can own different conditions. */
export const conditions = z
  .array(condition)
  .max(MAX_CONDITIONS)
  .optional()
  .describe("What is known of the object's state, one entry for each type. Wait for Ready.")
  .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });

/** The condition of that type, or undefined. */
export const findCondition = (list: readonly Condition[] | undefined, type: string): Condition | undefined =>
  list?.find((candidate) => candidate.type === type);

export const isTrue = (list: readonly Condition[] | undefined, type: string): boolean =>
  findCondition(list, type)?.status === "True";

/** RFC 3339 in UTC with seconds, as Kubernetes writes times. */
export const timestampOf = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`;

/** What a writer says; the time of the transition follows from what was said before. */
export type ConditionDraft = Omit<Condition, "lastTransitionTime">;

/**
 * Completes drafts with their transition times: a condition whose status did
 * not change keeps its old time, so that saying the same again changes nothing.
 */
export const withTransitionTimes = (
  drafts: readonly ConditionDraft[],
  previous: readonly Condition[] | undefined,
  now: Date,
): Condition[] =>
  drafts.map((draft) => {
    const before = findCondition(previous, draft.type);
    const unchanged = before !== undefined && before.status === draft.status;
    const lastTransitionTime = unchanged ? before.lastTransitionTime : timestampOf(now);
    return { ...draft, lastTransitionTime };
  });
