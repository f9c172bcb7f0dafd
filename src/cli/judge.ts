import { findCondition, type Condition } from "../api/condition.ts";
import type { KubernetesObject } from "../api/meta.ts";

/** What an object says about something that is awaited. */
export type Verdict =
  | { readonly kind: "waiting"; readonly message: string }
  | { readonly kind: "done"; readonly message: string }
  | { readonly kind: "failed"; readonly message: string };

export type Judge<T> = (object: T) => Verdict;

/** An object whose conditions follow kstatus. */
export interface Conditioned extends KubernetesObject {
  readonly status?:
    | {
        readonly observedGeneration?: number | undefined;
        readonly conditions?: readonly Condition[] | undefined;
      }
    | undefined;
}

export const waiting = (message: string): Verdict => ({ kind: "waiting", message });
export const done = (message: string): Verdict => ({ kind: "done", message });
export const failed = (message: string): Verdict => ({ kind: "failed", message });

/**
 * Ready is true when the object is as its spec says; Stalled when only a person can help.
 * https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus
 */
export const judgeReady: Judge<Conditioned> = ({ metadata, status }) => {
  if (metadata.deletionTimestamp !== undefined) return failed("it is being deleted");
  if (status?.observedGeneration !== metadata.generation) return waiting("waiting to be noticed");
  const stalled = findCondition(status?.conditions, "Stalled");
  if (stalled?.status === "True") return failed(textOf(stalled));
  const ready = findCondition(status?.conditions, "Ready");
  if (ready === undefined) return waiting("waiting to be noticed");
  return ready.status === "True" ? done(textOf(ready)) : waiting(textOf(ready));
};

/** A condition in a line: its sentence, after the word that programs compare. */
export const textOf = ({ reason, message }: Condition): string =>
  message === "" ? reason : `${reason}: ${message}`;
