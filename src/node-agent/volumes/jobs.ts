import { DiskBusyError, failureOf } from "./failure.ts";
import type { RoomLogger, Unfinished } from "./types.ts";

export interface JobOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (percent: number) => void;
}

export interface JobsOptions {
  readonly logger: RoomLogger;
  readonly now: () => Date;
  /** Called when a job has got on, or has ended. */
  readonly onChange: (uid: string) => void;
}

export interface NewJob {
  readonly key: string;
  /** What who listens is told. */
  readonly uid: string;
  /** Whether they are told each time that it gets on, or only of its end. */
  readonly tellsProgress: boolean;
}

interface Job {
  readonly controller: AbortController;
  readonly ended: Promise<void>;
  progressPercent: number;
}

interface Failure {
  readonly outcome: Extract<Unfinished, { kind: "failed" }>;
  readonly retryAt: number;
}

const RETRY_MS = 30_000;
/** What another piece of work holds is free soon. */
const BUSY_RETRY_MS = 2000;

/**
 * Work in the background that nobody waits for: at most one job for a key. What
 * a job has done is read from the disk, so that it does not matter which agent
 * did it; only failures are remembered here, for as long as nothing is tried.
 */
export class Jobs {
  readonly #options: JobsOptions;
  readonly #running = new Map<string, Job>();
  readonly #failures = new Map<string, Failure>();
  #isClosed = false;

  constructor(options: JobsOptions) {
    this.#options = options;
  }

  /** What goes on or went wrong under the key; undefined when something may be started. */
  state(key: string): Unfinished | undefined {
    const job = this.#running.get(key);
    if (job !== undefined) return { kind: "working", progressPercent: job.progressPercent };
    const failure = this.#failures.get(key);
    const retryAfterMs = (failure?.retryAt ?? 0) - this.#options.now().getTime();
    return failure === undefined || retryAfterMs <= 0 ? undefined : { ...failure.outcome, retryAfterMs };
  }

  isRunning(key: string): boolean {
    return this.#running.has(key);
  }

  /** Starts the work unless there is some under the key, or it failed a moment ago. */
  start({ key, uid, tellsProgress }: NewJob, work: (options: JobOptions) => Promise<void>): Unfinished {
    const state = this.state(key);
    if (state !== undefined) return state;
    if (this.#isClosed) return { kind: "working", progressPercent: 0 };
    const controller = new AbortController();
    const onProgress = (percent: number): void => {
      const job = this.#running.get(key);
      if (job === undefined || job.progressPercent === percent) return;
      job.progressPercent = percent;
      if (tellsProgress) this.#options.onChange(uid);
    };
    const ended = this.#carryOut(key, uid, () => work({ signal: controller.signal, onProgress }), controller);
    this.#running.set(key, { controller, ended, progressPercent: 0 });
    return { kind: "working", progressPercent: 0 };
  }

  /** Ends the job and waits until it has; forgets a failure. */
  async cancel(key: string): Promise<void> {
    const job = this.#running.get(key);
    job?.controller.abort(new Error("the work was given up"));
    await job?.ended;
    this.#failures.delete(key);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#running.keys()].map((key) => this.cancel(key)));
  }

  /** Never rejects: the next question is told what went wrong. */
  async #carryOut(
    key: string,
    uid: string,
    work: () => Promise<void>,
    { signal }: AbortController,
  ): Promise<void> {
    const { logger, now, onChange } = this.#options;
    // The caller has put the job down before its work begins.
    await Promise.resolve();
    this.#failures.delete(key);
    try {
      await work();
    } catch (err) {
      if (!signal.aborted) {
        const retryAfterMs = err instanceof DiskBusyError ? BUSY_RETRY_MS : RETRY_MS;
        const outcome = { kind: "failed", ...failureOf(err), retryAfterMs } as const;
        this.#failures.set(key, { outcome, retryAt: now().getTime() + retryAfterMs });
        logger.warn({ uid, err }, "work on a disk failed; it is tried again");
      }
    }
    this.#running.delete(key);
    if (!signal.aborted) onChange(uid);
  }
}
