import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import type { Store } from "../kube/index.ts";
import type { Announcement } from "./announce.ts";
import type { ControllerContext } from "./context.ts";
import { writeFinalizers } from "./finalizers.ts";
import { applyStatus } from "./status-writer.ts";

/** What is done about an object whose controller writes finalizers, a status and events, and nothing else. */
export type Step<Status extends object> =
  /** The list as it is to be. */
  | { readonly kind: "write-finalizers"; readonly finalizers: readonly string[] }
  | { readonly kind: "apply-status"; readonly status: Status }
  | { readonly kind: "announce"; readonly announcement: Announcement };

export interface Decision<Status extends object> {
  /** In this order; a later one is not taken when an earlier one fails. */
  readonly steps: readonly Step<Status>[];
  /** Look again after this time, in ms, if nothing changes before. */
  readonly requeueAfterMs?: number;
}

export const announce = (type: Announcement["type"], reason: string, message: string): Step<never> => ({
  kind: "announce",
  announcement: { type, reason, message },
});

/** Puts the finalizers that are not there, unless the deletion was asked for: the API server takes none then. */
export const holdFinalizer = (
  { metadata }: KubernetesObject,
  ...wanted: readonly string[]
): readonly Step<never>[] => {
  const { finalizers = [], deletionTimestamp } = metadata;
  const missing = wanted.filter((finalizer) => !finalizers.includes(finalizer));
  if (deletionTimestamp !== undefined || missing.length === 0) return [];
  return [{ kind: "write-finalizers", finalizers: [...finalizers, ...missing] }];
};

/** Takes those of the finalizers away that are there. */
export const dropFinalizer = (
  { metadata }: KubernetesObject,
  ...unwanted: readonly string[]
): readonly Step<never>[] => {
  const { finalizers = [] } = metadata;
  const rest = finalizers.filter((finalizer) => !unwanted.includes(finalizer));
  return rest.length === finalizers.length ? [] : [{ kind: "write-finalizers", finalizers: rest }];
};

export interface StepTarget<T extends KubernetesObject> extends Pick<ControllerContext, "client" | "events"> {
  readonly resource: Resource<T>;
  readonly store: Store<T>;
}

/**
 * Carries the steps out. Each write is bound to the version that the one before
 * it has made: whatever comes between ends it with a conflict, and everything is
 * looked at anew.
 */
export const applySteps = async <T extends KubernetesObject, Status extends object>(
  target: StepTarget<T>,
  object: T,
  steps: readonly Step<Status>[],
  signal: AbortSignal,
): Promise<void> => {
  let current: T | undefined = object;
  for (const step of steps) {
    if (current === undefined) return;
    current = await execute(target, current, step, signal);
  }
};

const execute = async <T extends KubernetesObject, Status extends object>(
  { client, events, resource, store }: StepTarget<T>,
  object: T,
  step: Step<Status>,
  signal: AbortSignal,
): Promise<T | undefined> => {
  switch (step.kind) {
    case "write-finalizers":
      return writeFinalizers(client, resource, object, step.finalizers, signal);
    case "apply-status":
      return applyStatus({ client, resource, store, signal }, object, step.status);
    case "announce": {
      const { type, reason, message } = step.announcement;
      events.event(object, type, reason, message);
      return object;
    }
  }
};
