/**
 * As Promise.all, but settles only when every part has: a part that goes on
 * after its neighbour failed would meet the next attempt. Rejects with the
 * first failure, in the order of the list.
 */
export const allEnded = async <T extends readonly unknown[]>(
  parts: readonly [...{ [I in keyof T]: Promise<T[I]> }],
): Promise<T> => {
  const results = await Promise.allSettled(parts);
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return Promise.all(parts) as Promise<unknown> as Promise<T>;
};
