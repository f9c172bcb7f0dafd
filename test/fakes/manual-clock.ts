import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../src/kube/clock.ts";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** Lets all promises that can settle do so. */
export const settle = async (): Promise<void> => {
  for (let round = 0; round < 5; round += 1) await setImmediate();
};

/** A clock that stands still until it is told to go on. */
export class ManualClock implements Clock {
  #time = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return Date.UTC(2026, 0, 1) + this.#time;
  }

  monotonic(): number {
    return this.#time;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#time + Math.max(0, ms), order: (this.#order += 1), callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Goes on by `ms`, stopping at each timer until what it started has settled. */
  async advance(ms: number): Promise<void> {
    const end = this.#time + ms;
    await settle();
    for (let timer = this.#next(end); timer !== undefined; timer = this.#next(end)) {
      this.#timers.delete(timer);
      this.#time = timer.at;
      timer.callback();
      await settle();
    }
    this.#time = end;
  }

  #next(end: number): Timer | undefined {
    return [...this.#timers]
      .filter(({ at }) => at <= end)
      .sort((a, b) => a.at - b.at || a.order - b.order)
      .at(0);
  }
}
