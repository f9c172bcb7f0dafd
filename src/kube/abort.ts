import { systemClock, type Clock } from "./clock.ts";

/** The reason of a signal that a deadline aborted. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";

  constructor(ms: number) {
    super(`no answer within ${ms} ms`);
  }
}

/**
 * Runs an effect with a signal that is aborted when the caller's is or when
 * `ms` have passed. Unlike AbortSignal.any it leaves nothing on the caller's
 * signal, which may live as long as the process.
 */
export const withDeadline = async <R>(
  signal: AbortSignal,
  ms: number,
  effect: (signal: AbortSignal) => Promise<R>,
  clock: Clock = systemClock,
): Promise<R> => {
  const linked = linkAbort(signal);
  const disarm = clock.after(ms, () => linked.abort(new DeadlineError(ms)));
  try {
    return await effect(linked.signal);
  } finally {
    disarm();
    linked.unlink();
  }
};

export interface LinkedAbort {
  readonly signal: AbortSignal;
  abort(reason?: Error): void;
  /** Lets go of the parent. Must be called when the work is over. */
  unlink(): void;
}

/** A controller that is aborted with its parent, and can be aborted alone. */
export const linkAbort = (parent: AbortSignal): LinkedAbort => {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(parent.reason);
  if (parent.aborted) onAbort();
  else parent.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    unlink: () => parent.removeEventListener("abort", onAbort),
  };
};

/** Resolves when the signal is aborted. */
export const whenAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

/** Settles as the promise does, or rejects with the signal's reason, whichever is first. */
export const untilAborted = <R>(promise: Promise<R>, signal: AbortSignal): Promise<R> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
