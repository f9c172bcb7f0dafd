import { setTimeout as delay } from "node:timers/promises";

export interface WaitOptions {
  /** How long the condition may take, in ms. Default 30,000. */
  readonly timeoutMs?: number;
  /** Pause between two looks, in ms. Default 50. */
  readonly intervalMs?: number;
  readonly signal?: AbortSignal;
}

/** A condition that did not come true in time, with what was last seen. */
export class WaitTimeoutError extends Error {
  override readonly name = "WaitTimeoutError";
}

/** A probe throws this when further looks are useless, for instance because the program has died. */
export class HopelessError extends Error {
  override readonly name = "HopelessError";
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * Awaits a condition: looks until `probe` returns something other than
 * `undefined` or `false`, and resolves with it.
 *
 * A probe that throws has not seen the condition yet; its message is "what was
 * last seen" in the error. It says more than `false` does, so probes should
 * throw what they saw: `throw new Error("STATUS is Starting")`.
 */
export const waitFor = async <T>(
  description: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  options: WaitOptions = {},
): Promise<T> => {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const startedAt = Date.now();
  let lastSeen = "nothing yet";
  let looks = 0;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      looks += 1;
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      if (error instanceof HopelessError) throw error;
      lastSeen = messageOf(error);
    }
    if (Date.now() - startedAt >= timeoutMs) {
      const waited = ((Date.now() - startedAt) / 1000).toFixed(1);
      throw new WaitTimeoutError(
        `waited ${waited} s for: ${description}; last seen (of ${looks} looks): ${lastSeen}`,
      );
    }
    await delay(options.intervalMs ?? 50, undefined, options.signal ? { signal: options.signal } : {});
  }
};
