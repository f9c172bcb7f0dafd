/** setTimeout takes a longer delay for 1 ms. */
const MAX_MS = 0x7fff_ffff;

/** A timer of any length; none for Infinity. */
export const setTimer = (action: () => void, ms: number): NodeJS.Timeout | undefined =>
  ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(action, Math.min(ms, MAX_MS));
