import { untilAborted } from "./abort.ts";
import { ApiError, isConflict, isNotFound } from "./api-error.ts";
import { backoffDelay, type Backoff } from "./backoff.ts";
import { events } from "./builtin.ts";
import type { KubeClient, WritableObject } from "./client.ts";
import { sleep, systemClock, type Clock, type Random } from "./clock.ts";
import {
  createSeriesBook,
  type EventSubject,
  type Occurrence,
  type Series,
  type SeriesBook,
} from "./event-series.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { microTime } from "./micro-time.ts";

export type EventType = "Normal" | "Warning";

/**
 * Tells people, on the object, what happened. Sent in the background, so that a
 * reconcile neither waits for it nor fails with it; what cannot be sent is
 * dropped and counted. For programs there are conditions.
 */
export interface EventRecorder {
  /**
   * @param reason CamelCase, at most 128 characters
   * @param message a sentence; cut at 1 KiB. Keep numbers that change out of it: equal messages become one event with a count
   */
  event(object: EventSubject, type: EventType, reason: string, message: string): void;
  /** Resolves when everything recorded so far was sent or dropped. For the end of the program. */
  flush(signal: AbortSignal): Promise<void>;
}

export interface EventRecorderOptions {
  readonly client: KubeClient;
  /** Who reports: "vireo.dev/controller". */
  readonly component: string;
  /** Which of them: the pod's or node's name. */
  readonly instance: string;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  /** Ends the sending. */
  readonly signal: AbortSignal;
}

/** More than this waiting to be sent means that the API server is away: the rest is dropped. */
const MAX_QUEUED = 1000;
const MAX_TRIES = 4;
const BACKOFF: Backoff = { initialMs: 500, maxMs: 10_000 };
/** validation of events.k8s.io/v1, in bytes */
const MAX_NOTE_BYTES = 1024;

export const createEventRecorder = (options: EventRecorderOptions): EventRecorder => new Recorder(options);

class Recorder implements EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #book: SeriesBook;
  readonly #queue: Series[] = [];
  /** Series that wait for their next turn, with what cancels the wait. */
  readonly #delayed = new Map<Series, () => void>();
  #sending: Promise<void> | undefined;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#book = createSeriesBook(this.#clock);
  }

  event(object: EventSubject, type: EventType, reason: string, message: string): void {
    const note = cutToBytes(message, MAX_NOTE_BYTES);
    const series = this.#book.record({ object, type, reason, note, at: this.#clock.now() });
    if (series === undefined) this.#count("dropped");
    else this.#schedule(series);
  }

  async flush(signal: AbortSignal): Promise<void> {
    for (const series of this.#delayed.keys()) this.#enqueue(series);
    while (this.#sending !== undefined) await untilAborted(this.#sending, signal);
  }

  #schedule(series: Series): void {
    if (this.#delayed.has(series) || this.#queue.includes(series)) return;
    const waitMs = this.#book.waitMs(series);
    if (waitMs <= 0) this.#enqueue(series);
    else
      this.#delayed.set(
        series,
        this.#clock.after(waitMs, () => this.#enqueue(series)),
      );
  }

  #enqueue(series: Series): void {
    this.#delayed.get(series)?.();
    this.#delayed.delete(series);
    if (this.#queue.length >= MAX_QUEUED) {
      this.#count("dropped");
      this.#book.forget(series);
      return;
    }
    this.#queue.push(series);
    this.#pump();
  }

  #pump(): void {
    if (this.#sending !== undefined || this.#queue.length === 0) return;
    this.#sending = this.#sendAll().finally(() => {
      this.#sending = undefined;
      this.#pump();
    });
  }

  /** One at a time: events must not compete with reconciles for the API server. */
  async #sendAll(): Promise<void> {
    for (let series = this.#queue.shift(); series !== undefined; series = this.#queue.shift()) {
      const isNew = series.sentCount === 0;
      const wasSent = await this.#send(series);
      this.#count(wasSent ? (isNew ? "created" : "aggregated") : "dropped");
    }
  }

  async #send(series: Series): Promise<boolean> {
    const { signal, logger, random = Math.random } = this.#options;
    for (let tries = 1; ; tries += 1) {
      if (signal.aborted) return false;
      try {
        const { count } = series;
        await this.#write(series, count);
        this.#book.sent(series, count);
        return true;
      } catch (error) {
        if (tries >= MAX_TRIES || (error instanceof ApiError && !error.isRetryable)) {
          if (!signal.aborted) logger.warn({ err: error, reason: series.first.reason }, "event dropped");
          this.#book.forget(series);
          return false;
        }
        await sleep(this.#clock, backoffDelay(tries, BACKOFF, random), signal).catch(() => {});
      }
    }
  }

  async #write(series: Series, count: number): Promise<void> {
    const { client, signal } = this.#options;
    if (series.sentCount > 0) {
      const patch = { series: { count, lastObservedTime: microTime(series.lastAt) } };
      const key = { namespace: namespaceOf(series.first), name: series.name };
      try {
        await client.mergePatch(events, key, patch, { signal });
        return;
      } catch (error) {
        // The API server forgets events after an hour.
        if (!isNotFound(error)) throw error;
      }
    }
    await client.create(events, render(this.#options, series, count), { signal }).catch((error: unknown) => {
      // An earlier try arrived, and only its answer was lost: the name is random and ours.
      if (!isConflict(error)) throw error;
    });
  }

  #count(result: "created" | "aggregated" | "dropped"): void {
    this.#options.metrics?.events.inc({ result });
  }
}

/** Events about cluster-scoped objects live in "default". */
const namespaceOf = ({ object }: Occurrence): string => object.metadata.namespace ?? "default";

const render = (
  { component, instance }: EventRecorderOptions,
  series: Series,
  count: number,
): WritableObject => {
  const { object, type, reason, note, at } = series.first;
  const { name, namespace, uid } = object.metadata;
  return {
    metadata: { name: series.name, namespace: namespaceOf(series.first) },
    eventTime: microTime(at),
    reportingController: component,
    reportingInstance: instance.slice(0, 128),
    action: reason.slice(0, 128),
    reason: reason.slice(0, 128),
    type,
    note,
    regarding: {
      apiVersion: object.apiVersion,
      kind: object.kind,
      name,
      uid,
      ...(namespace && { namespace }),
    },
    ...(count > 1 && { series: { count, lastObservedTime: microTime(series.lastAt) } }),
  };
};

/** Cuts a text to at most so many bytes of UTF-8, not within a character. */
export const cutToBytes = (text: string, maxBytes: number): string => {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  const ellipsis = "…";
  const room = maxBytes - Buffer.byteLength(ellipsis);
  let end = 0;
  let bytes = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > room) break;
    end += character.length;
  }
  return text.slice(0, end) + ellipsis;
};
