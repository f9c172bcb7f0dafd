import type { Random } from "./clock.ts";

export interface Backoff {
  /** Delay after the first failure, in ms, before jitter. */
  readonly initialMs: number;
  /** The delay never grows beyond this, in ms. */
  readonly maxMs: number;
}

/**
 * The delay in ms before try number `failures + 1`: doubling, of which the
 * upper half is random, so that many clients that failed together do not
 * come back together.
 */
export const backoffDelay = (failures: number, backoff: Backoff, random: Random): number => {
  const doublings = Math.min(Math.max(failures - 1, 0), 40);
  const ceiling = Math.min(backoff.maxMs, backoff.initialMs * 2 ** doublings);
  return ceiling / 2 + (random() * ceiling) / 2;
};
