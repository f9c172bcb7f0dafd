/**
 * Awaits two effects that run side by side. Unlike Promise.all it settles only
 * when both have ended: one that goes on after its neighbour failed would meet
 * the next attempt. Rejects with the first one's failure, else the second's.
 */
export const both = async <A, B>(first: Promise<A>, second: Promise<B>): Promise<readonly [A, B]> => {
  const [a, b] = await Promise.allSettled([first, second]);
  if (a.status === "rejected") throw a.reason;
  if (b.status === "rejected") throw b.reason;
  return [a.value, b.value];
};
