/** Runs a task when there is room for it; rejects with the signal's reason when that aborts first. */
export type AtMost = <T>(task: () => Promise<T>, options: { readonly signal: AbortSignal }) => Promise<T>;

/** So many tasks at a time; the others wait in the order of arrival. For work that would fight for the same disks. */
export const createAtMost = (count: number): AtMost => {
  const waiting: (() => void)[] = [];
  let free = count;

  const place = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    if (free > 0) {
      free -= 1;
      return;
    }
    const given = Promise.withResolvers<void>();
    waiting.push(given.resolve);
    const giveUp = (): void => {
      const index = waiting.indexOf(given.resolve);
      // One that has its place already runs, and ends as its task does.
      if (index >= 0) waiting.splice(index, 1);
      given.reject(signal.reason);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      await given.promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  };

  const leave = (): void => {
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next();
  };

  return async (task, { signal }) => {
    await place(signal);
    try {
      return await task();
    } finally {
      leave();
    }
  };
};
