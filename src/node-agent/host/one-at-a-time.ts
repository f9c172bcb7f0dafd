/** Runs work of the same key one after the other, in the order of the calls; of different keys at the same time. */
export type OneAtATime = <T>(key: string, work: () => Promise<T>) => Promise<T>;

/** A failure is its caller's to handle; the next in line only waits for the end. */
const endOf = async (work: Promise<unknown>): Promise<void> => {
  try {
    await work;
  } catch {
    // Told to the caller of this piece of work.
  }
};

export const createOneAtATime = (): OneAtATime => {
  const ends = new Map<string, Promise<void>>();
  return (key, work) => {
    const before = ends.get(key);
    const inTurn = async () => {
      await before;
      try {
        return await work();
      } finally {
        if (ends.get(key) === end) ends.delete(key);
      }
    };
    const result = inTurn();
    const end = endOf(result);
    ends.set(key, end);
    return result;
  };
};
