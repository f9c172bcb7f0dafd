/** Runs tasks, at most a number of them at once, in the order in which they came. */
export type Slots = <T>(task: () => Promise<T>, signal: AbortSignal) => Promise<T>;

/** A task whose signal is aborted while it waits is not started; it rejects with the signal's reason. */
export const createSlots = (size: number): Slots => {
  let free = size;
  const waiting = new Set<() => void>();

  const acquire = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    if (free > 0) {
      free -= 1;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => {
      waiting.delete(resolve);
      reject(signal.reason);
    };
    waiting.add(resolve);
    signal.addEventListener("abort", onAbort, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", onAbort));
  };

  /** The slot goes to the next in line, or back. */
  const release = (): void => {
    const [next] = waiting;
    if (next === undefined) {
      free += 1;
      return;
    }
    waiting.delete(next);
    next();
  };

  return async (task, signal) => {
    await acquire(signal);
    try {
      return await task();
    } finally {
      release();
    }
  };
};
