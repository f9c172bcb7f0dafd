/**
 * Turns a costly whole-node pass into one that concurrent callers share.
 *
 * A caller's promise settles with the first pass that *started after* the
 * call, so what the caller changed before is in it. At most one pass runs, and
 * at most one waits: twenty machines that start at once cost two passes.
 */
export const coalesce = (pass: () => Promise<void>): (() => Promise<void>) => {
  let running: Promise<void> | undefined;
  let waiting: Promise<void> | undefined;

  const start = (): Promise<void> => {
    const current = pass().finally(() => {
      if (running === current) running = undefined;
    });
    running = current;
    return current;
  };

  return () => {
    if (waiting !== undefined) return waiting;
    if (running === undefined) return start();
    waiting = running
      .catch(() => {
        // Its own callers hear of that; those who wait get a pass of their own.
      })
      .then(() => {
        waiting = undefined;
        return start();
      });
    return waiting;
  };
};
