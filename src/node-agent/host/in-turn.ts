/** Runs a task when those handed in before it have ended. */
export type InTurn = <T>(task: () => Promise<T>) => Promise<T>;

/**
 * One task at a time, in the order of arrival. For what reads a state of the
 * host, decides, and writes: two of these at once would decide on stale facts.
 */
export const createInTurn = (): InTurn => {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const turn = last.then(task, task);
    // A failure is its caller's to handle; the next in turn starts all the same.
    last = turn.catch(() => {});
    return turn;
  };
};
