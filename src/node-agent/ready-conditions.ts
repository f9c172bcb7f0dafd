import { type Condition, type ConditionDraft, findCondition } from "../api/condition.ts";
import type { KubernetesObject } from "../api/meta.ts";
import type { EventRecorder } from "../kube/index.ts";

/** Whether an object is Ready, and why, in kstatus' terms. */
export interface Readiness {
  readonly ready: "True" | "False";
  /** Nothing but another wish helps. Default: false. */
  readonly stalled?: boolean | undefined;
  readonly reason: string;
  readonly message: string;
}

interface ReadyConditionsOptions {
  /** The metadata.generation whose spec was looked at. */
  readonly observedGeneration: number;
  /** The node has nothing of the object any more: the controller may let it go. */
  readonly isReleased?: boolean;
}

/** Ready; beside False, Reconciling or Stalled; and Released at the end. */
export const readyConditions = (
  { ready, stalled = false, reason, message }: Readiness,
  { observedGeneration, isReleased = false }: ReadyConditionsOptions,
): ConditionDraft[] => {
  const draft = (type: string, status: "True" | "False"): ConditionDraft => ({
    type,
    status,
    observedGeneration,
    reason,
    message,
  });
  return [
    draft("Ready", ready),
    ...(ready === "True" ? [] : [draft(stalled ? "Stalled" : "Reconciling", "True")]),
    ...(isReleased ? [draft("Released", "True")] : []),
  ];
};

type WithConditions = KubernetesObject & {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
};

/** An event when Ready has another reason than before. */
export const announceReady = (
  events: EventRecorder,
  before: WithConditions,
  after: readonly Condition[],
  type: "Normal" | "Warning",
): void => {
  const then = findCondition(before.status?.conditions, "Ready");
  const now = findCondition(after, "Ready");
  if (now === undefined || now.reason === then?.reason) return;
  events.event(before, type, now.reason, now.message);
};
