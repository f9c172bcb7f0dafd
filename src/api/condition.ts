import { z } from "zod";

export const conditionStatuses = ["True", "False", "Unknown"] as const;
export type ConditionStatus = (typeof conditionStatuses)[number];

/**
 * metav1.Condition, with kstatus' meaning of Ready, Reconciling and Stalled.
 * https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
 */
export const condition = z.object({
  type: z.string().max(316).describe("What is being said something about, in CamelCase: Ready, Scheduled, …"),
  status: z.enum(conditionStatuses).describe("True, False, or Unknown."),
  observedGeneration: z
    .int()
    .min(0)
    .optional()
    .describe("The metadata.generation that this condition was worked out from."),
  lastTransitionTime: z.iso.datetime().describe("When status last changed."),
  reason: z.string().max(1024).describe("Why, in one CamelCase word that programs may compare."),
  message: z.string().max(32768).describe("Why, in a sentence for people, with what to do about it."),
});

export type Condition = Readonly<z.infer<typeof condition>>;

/** status.conditions: a map keyed by type, so that several writers can own different conditions. */
export const conditions = z
  .array(condition)
  .max(16)
  .optional()
  .describe("The latest observations of this object's state. Wait for Ready.")
  .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });

/** The condition of that type, or undefined. */
export const findCondition = (list: readonly Condition[] | undefined, type: string): Condition | undefined =>
  list?.find((candidate) => candidate.type === type);

export const isTrue = (list: readonly Condition[] | undefined, type: string): boolean =>
  findCondition(list, type)?.status === "True";

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
    const lastTransitionTime = unchanged ? before.lastTransitionTime : `${now.toISOString().slice(0, 19)}Z`;
    return { ...draft, lastTransitionTime };
  });
