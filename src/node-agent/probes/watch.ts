import type { Probe } from "../../api/probe.ts";
import type { Timing } from "./agent-probe.ts";
import { count, startCounter } from "./counter.ts";
import type { Finding, ProbeResult } from "./types.ts";

export interface WatchOptions {
  readonly probe: Probe;
  /** What is known before the first result. */
  readonly initial: Finding;
  /** Until the first probe, in ms. */
  readonly firstDelayMs: number;
  /** Probes once; rejects only when aborted. */
  readonly runOnce: (signal: AbortSignal) => Promise<ProbeResult>;
  readonly timing: Timing;
  readonly onResult: (result: ProbeResult) => void;
  readonly onFinding: () => void;
}

/** One probe of one guest, again and again. */
export interface Watch {
  readonly probe: Probe;
  readonly finding: () => Finding;
  readonly stop: () => void;
}

export const startWatch = (options: WatchOptions): Watch => {
  const { probe, runOnce, timing, onResult, onFinding } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let counter = startCounter(options.initial);

  const probeOnce = async (): Promise<void> => {
    const result = await runOnce(signal);
    signal.throwIfAborted();
    onResult(result);
    const before = counter.finding;
    counter = count(counter, result, probe);
    if (counter.finding !== before) onFinding();
  };

  const probeForEver = async (): Promise<void> => {
    await timing.sleep(options.firstDelayMs, signal);
    for (;;) {
      const begun = timing.monotonic();
      await probeOnce();
      const elapsed = timing.monotonic() - begun;
      await timing.sleep(Math.max(0, probe.periodSeconds * 1_000 - elapsed), signal);
    }
  };

  probeForEver().catch((error: unknown) => {
    // Only an abort ends the loop: runOnce says all else by its result.
    if (!signal.aborted) throw error;
  });
  return { probe, finding: () => counter.finding, stop: () => stopping.abort() };
};
