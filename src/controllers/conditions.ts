import {
  type Condition,
  type ConditionDraft,
  type ConditionStatus,
  withTransitionTimes,
} from "../api/condition.ts";
import type { KubernetesObject } from "../api/meta.ts";

/** A condition before it is known of which generation and since when. */
export type Draft = Omit<ConditionDraft, "observedGeneration">;

export const draftOf = (type: string, status: ConditionStatus, reason: string, message: string): Draft => ({
  type,
  status,
  reason,
  message,
});

/** Ready is True: the object is what its spec says. */
export const ready = (reason: string, message: string): readonly Draft[] => [
  draftOf("Ready", "True", reason, message),
];

/** Ready is False, and may become True without anybody's doing. */
export const notReady = (reason: string, message: string): readonly Draft[] => [
  draftOf("Ready", "False", reason, message),
];

/**
 * Ready is False, and only a person can change that. kstatus calls it failed,
 * so that whoever waits for the object gives up at once.
 */
export const stalled = (reason: string, message: string): readonly Draft[] => [
  draftOf("Ready", "False", reason, message),
  draftOf("Stalled", "True", reason, message),
];

interface Observed {
  readonly observedGeneration: number;
  readonly conditions: Condition[];
}

/**
 * The part of a status that every kind has. Saying the same again gives the
 * same value: transition times come from what was said before.
 */
export const observed = (
  object: KubernetesObject & {
    readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
  },
  drafts: readonly Draft[],
  now: Date,
): Observed => {
  const observedGeneration = object.metadata.generation ?? 0;
  const complete = drafts.map((draft) => ({ ...draft, observedGeneration }));
  return { observedGeneration, conditions: withTransitionTimes(complete, object.status?.conditions, now) };
};

/** The text with a full stop, for quoting what others said in the middle of a message. */
export const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);
