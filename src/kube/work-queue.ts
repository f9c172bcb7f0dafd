import { backoffDelay, type Backoff } from "./backoff.ts";
import { whenAborted } from "./abort.ts";
import { systemClock, type Clock, type Random } from "./clock.ts";
import { createMetrics, type Metrics } from "./metrics.ts";

/** What is to become of a key after it was processed. */
export type WorkResult =
  /** Nothing until it is added again; its failures are forgotten. */
  | { readonly kind: "done" }
  /** Again after this time, in ms; its failures are forgotten. */
  | { readonly kind: "requeue-after"; readonly ms: number }
  /** It failed: again after the back-off, but not before `atLeastMs`. */
  | { readonly kind: "retry"; readonly atLeastMs?: number | undefined };

/** Works on a key. A rejection counts as `retry`. */
export type Process<K extends string> = (key: K, signal: AbortSignal) => Promise<WorkResult>;

/**
 * Keys that need work. A key is in it at most once; it is never worked on by
 * two workers at a time; added while it is worked on, it comes again after.
 * Keys are served in the order in which they came.
 */
export interface WorkQueue<K extends string> {
  /** Asks for work on the key, now. */
  add(key: K): void;
  /** Asks for work on the key in `ms`; of several such wishes the earliest counts. */
  addAfter(key: K, ms: number): void;
  /** Works until the signal is aborted, and returns when the last running process has ended. Call it once. */
  run(process: Process<K>, signal: AbortSignal): Promise<void>;
}

export interface WorkQueueOptions {
  /** For metrics. */
  readonly name: string;
  /** How many keys are worked on at the same time. */
  readonly workers: number;
  /** After a failure. Default 200 ms doubling to 5 min. */
  readonly backoff?: Backoff | undefined;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

export const defaultBackoff: Backoff = { initialMs: 200, maxMs: 5 * 60_000 };

export const createWorkQueue = <K extends string>(options: WorkQueueOptions): WorkQueue<K> =>
  new Queue<K>(options);

class Queue<K extends string> implements WorkQueue<K> {
  readonly #name: string;
  readonly #workers: number;
  readonly #backoff: Backoff;
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #random: Random;
  /** Keys that wait for a worker, in order, with the time since when. */
  readonly #ready = new Map<K, number>();
  /** Keys that are worked on; true: again afterwards. */
  readonly #running = new Map<K, boolean>();
  readonly #failures = new Map<K, number>();
  /** Wishes of others: they stay when the key is worked on for another reason. */
  readonly #wished: Timers<K>;
  /** What the last result of the key asked for: void as soon as it is worked on again. */
  readonly #returning: Timers<K>;
  #process: { readonly run: Process<K>; readonly signal: AbortSignal } | undefined;
  #idle: (() => void) | undefined;

  constructor(options: WorkQueueOptions) {
    this.#name = options.name;
    this.#workers = options.workers;
    this.#backoff = options.backoff ?? defaultBackoff;
    this.#metrics = options.metrics ?? createMetrics();
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#wished = new Timers(this.#clock, (key) => this.add(key));
    this.#returning = new Timers(this.#clock, (key) => this.add(key));
  }

  add(key: K): void {
    if (this.#running.has(key)) this.#running.set(key, true);
    else if (!this.#ready.has(key)) this.#ready.set(key, this.#clock.monotonic());
    this.#pump();
  }

  addAfter(key: K, ms: number): void {
    if (ms <= 0) this.add(key);
    else this.#wished.setEarlier(key, ms);
  }

  async run(process: Process<K>, signal: AbortSignal): Promise<void> {
    this.#process = { run: process, signal };
    this.#pump();
    await whenAborted(signal);
    this.#process = undefined;
    this.#wished.clear();
    this.#returning.clear();
    if (this.#running.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  #pump(): void {
    this.#metrics.queueDepth.set({ queue: this.#name }, this.#ready.size);
    for (const [key, since] of this.#ready) {
      if (this.#process === undefined || this.#process.signal.aborted || this.#running.size >= this.#workers)
        return;
      this.#ready.delete(key);
      this.#metrics.queueDepth.set({ queue: this.#name }, this.#ready.size);
      this.#metrics.queueWaitSeconds.observe({ queue: this.#name }, (this.#clock.monotonic() - since) / 1000);
      this.#start(key, this.#process);
    }
  }

  #start(key: K, { run, signal }: { readonly run: Process<K>; readonly signal: AbortSignal }): void {
    this.#running.set(key, false);
    this.#returning.cancel(key);
    // Not called within add(): whoever adds a key must not find it half done.
    void Promise.resolve()
      .then(() => {
        // Whoever added it in the meantime is served by this very run.
        this.#running.set(key, false);
        return run(key, signal);
      })
      .then(
        (result) => this.#finish(key, result),
        () => this.#finish(key, { kind: "retry" }),
      );
  }

  #finish(key: K, result: WorkResult): void {
    const again = this.#running.get(key) === true;
    this.#running.delete(key);
    if (this.#process === undefined) {
      if (this.#running.size === 0) this.#idle?.();
      return;
    }
    const delay = this.#settle(key, result);
    if (again) this.add(key);
    else if (delay !== undefined) this.#returning.setEarlier(key, delay);
    this.#pump();
  }

  /** Counts or forgets failures; the time after which the key returns by itself. */
  #settle(key: K, result: WorkResult): number | undefined {
    if (result.kind !== "retry") {
      this.#failures.delete(key);
      return result.kind === "done" ? undefined : result.ms;
    }
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    this.#metrics.queueRetries.inc({ queue: this.#name });
    return Math.max(result.atLeastMs ?? 0, backoffDelay(failures, this.#backoff, this.#random));
  }
}

/** At most one timer per key. */
class Timers<K extends string> {
  readonly #clock: Clock;
  readonly #fire: (key: K) => void;
  readonly #pending = new Map<K, { readonly at: number; readonly cancel: () => void }>();

  constructor(clock: Clock, fire: (key: K) => void) {
    this.#clock = clock;
    this.#fire = fire;
  }

  setEarlier(key: K, ms: number): void {
    const at = this.#clock.monotonic() + ms;
    const pending = this.#pending.get(key);
    if (pending !== undefined && pending.at <= at) return;
    pending?.cancel();
    const cancel = this.#clock.after(ms, () => {
      this.#pending.delete(key);
      this.#fire(key);
    });
    this.#pending.set(key, { at, cancel });
  }

  cancel(key: K): void {
    this.#pending.get(key)?.cancel();
    this.#pending.delete(key);
  }

  clear(): void {
    for (const key of this.#pending.keys()) this.cancel(key);
  }
}
