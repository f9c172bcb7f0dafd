import type { Resource } from "../api/resource.ts";
import { DeadlineError, linkAbort } from "./abort.ts";
import { ApiError, TransportError } from "./api-error.ts";
import { backoffDelay, type Backoff } from "./backoff.ts";
import type { KubeClient, Selection } from "./client.ts";
import { sleep, type Clock, type Random } from "./clock.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import type { RawObject } from "./object-codec.ts";
import { formatKey, keyOf } from "./object-key.ts";
import { WatchProtocolError, type WatchEvent } from "./watch-stream.ts";

/** Where the reflector delivers. */
export interface ReflectorSink {
  /** These are all objects, at this version. */
  replace(items: readonly RawObject[], resourceVersion: string): void;
  /** The next change after the last version delivered. */
  apply(event: WatchEvent): void;
}

export interface ReflectorTimings {
  readonly backoff: Backoff;
  /** Silence on a watch after which the connection counts as dead, in ms. The server sends a bookmark each minute. */
  readonly idleTimeoutMs: number;
  /** Time that watch-list gets to deliver all that exists, in ms. */
  readonly initialTimeoutMs: number;
}

export const defaultReflectorTimings: ReflectorTimings = {
  backoff: { initialMs: 400, maxMs: 30_000 },
  idleTimeoutMs: 120_000,
  initialTimeoutMs: 60_000,
};

export interface ReflectorOptions {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly selection: Selection;
  readonly sink: ReflectorSink;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly timings: ReflectorTimings;
}

/** A watch that ends sooner, and without an event, is a failure: reconnecting at once would be a busy loop. */
const SHORTEST_WATCH_MS = 1000;
/** A watch that cannot be taken up again after so many tries is given up for a fresh list. */
const FAILURES_UNTIL_LIST = 3;
/** No server may ask us to stay away longer than this, in ms. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Mirrors one kind into a sink, for ever: lists, then watches from there.
 *
 * Its whole memory is the last version delivered. While that holds, a broken
 * watch goes on from it; when the server says that it is gone (410), refuses
 * for good, or fails three times in a row, everything is listed anew. Every
 * failure backs off with jitter; an event, or the end of a list by
 * watch-list, ends the row of failures. A plain LIST does not: a server that
 * lists but cannot watch is to be spared.
 */
export const createReflector = (options: ReflectorOptions) => {
  const state: ReflectorState = { resourceVersion: undefined, failures: 0, watchList: true };
  return {
    /** Returns when the signal is aborted; never throws. */
    run: async (signal: AbortSignal): Promise<void> => {
      while (!signal.aborted) {
        const delay = await session(options, state, signal).then(
          () => afterEnd(options, state),
          (error: unknown) => afterFailure(options, state, error, signal),
        );
        if (delay > 0) await sleep(options.clock, delay, signal).catch(() => {});
      }
    },
  };
};

interface ReflectorState {
  /** The last version delivered; undefined when everything must be listed. */
  resourceVersion: string | undefined;
  /** Failures in a row. */
  failures: number;
  /** Try watch-list. Given up for good once a server did not carry it through. */
  watchList: boolean;
}

/** A watch ended as watches do: go on at once. */
const afterEnd = ({ metrics, resource }: ReflectorOptions, state: ReflectorState): number => {
  metrics.watchRestarts.inc({ kind: resource.kind, cause: "ended" });
  state.failures = 0;
  return 0;
};

/** Decides what a failure means for our place in the history, and how long to wait. */
const afterFailure = (
  { metrics, resource, logger, timings, random }: ReflectorOptions,
  state: ReflectorState,
  error: unknown,
  signal: AbortSignal,
): number => {
  if (signal.aborted) return 0;
  const expired = error instanceof ApiError && error.isExpired;
  metrics.watchRestarts.inc({ kind: resource.kind, cause: expired ? "expired" : "failed" });
  state.failures += 1;
  if (state.resourceVersion === undefined && !(error instanceof TransportError)) state.watchList = false;
  if (!keepsPlace(error) || state.failures % FAILURES_UNTIL_LIST === 0) state.resourceVersion = undefined;
  const retryAfterMs = error instanceof ApiError ? Math.min(error.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS) : 0;
  const delay = Math.max(retryAfterMs, backoffDelay(state.failures, timings.backoff, random));
  const fields = { kind: resource.kind, failures: state.failures, retryInMs: Math.round(delay), err: error };
  if (expired) logger.info(fields, "the watch is too old to go on; listing anew");
  else logger.warn(fields, "watch failed; trying again");
  return delay;
};

/** Only the connection or the server's mood failed; what was delivered stays true. */
const keepsPlace = (error: unknown): boolean =>
  error instanceof TransportError || (error instanceof ApiError && error.isRetryable);

/** One list, if needed, and one watch until its end. */
const session = async (
  options: ReflectorOptions,
  state: ReflectorState,
  signal: AbortSignal,
): Promise<void> => {
  if (state.resourceVersion !== undefined) return watchOn(options, state, state.resourceVersion, signal);
  if (state.watchList) return watchList(options, state, signal);
  const { client, resource, selection, sink } = options;
  const { items, resourceVersion } = await client.listRaw(resource, { ...selection, signal });
  sink.replace(items, resourceVersion);
  state.resourceVersion = resourceVersion;
  return watchOn(options, state, resourceVersion, signal);
};

const watchOn = async (
  options: ReflectorOptions,
  state: ReflectorState,
  resourceVersion: string,
  signal: AbortSignal,
): Promise<void> => {
  const startedAt = options.clock.monotonic();
  let events = 0;
  for await (const event of openWatch(options, { resourceVersion }, signal)) {
    events += 1;
    deliver(options.sink, state, event);
  }
  if (events === 0 && options.clock.monotonic() - startedAt < SHORTEST_WATCH_MS)
    throw new TransportError(
      `watch ${options.resource.plural}`,
      new Error("the server ended the watch at once"),
    );
};

/** One stream that first delivers what exists, up to a bookmark that says so, and then the changes. */
const watchList = async (
  options: ReflectorOptions,
  state: ReflectorState,
  signal: AbortSignal,
): Promise<void> => {
  const { initialTimeoutMs } = options.timings;
  const linked = linkAbort(signal);
  const disarm = options.clock.after(initialTimeoutMs, () =>
    linked.abort(new DeadlineError(initialTimeoutMs)),
  );
  const initial = new Map<string, RawObject>();
  try {
    for await (const event of openWatch(options, { sendInitialEvents: true }, linked.signal)) {
      if (state.resourceVersion !== undefined) deliver(options.sink, state, event);
      else if (collect(initial, event)) {
        disarm();
        options.sink.replace([...initial.values()], event.resourceVersion);
        initial.clear();
        state.resourceVersion = event.resourceVersion;
        state.failures = 0;
      }
    }
  } finally {
    disarm();
    linked.unlink();
  }
  if (state.resourceVersion === undefined)
    throw new WatchProtocolError("the watch ended before it had delivered what exists");
};

/** Notes an object of the initial state; true when that is complete. */
const collect = (initial: Map<string, RawObject>, event: WatchEvent): boolean => {
  if (event.kind === "bookmark") return event.initialEventsEnd;
  const id = formatKey(keyOf(event.object));
  if (event.kind === "deleted") initial.delete(id);
  else initial.set(id, event.object);
  return false;
};

const deliver = (sink: ReflectorSink, state: ReflectorState, event: WatchEvent): void => {
  sink.apply(event);
  state.resourceVersion = event.resourceVersion;
  state.failures = 0;
};

const openWatch = (
  { client, resource, selection, timings, random }: ReflectorOptions,
  from: { readonly resourceVersion?: string; readonly sendInitialEvents?: boolean },
  signal: AbortSignal,
): AsyncGenerator<WatchEvent> =>
  client.watch(resource, {
    ...selection,
    ...from,
    // Spread, so that the watches of many agents do not end together.
    timeoutSeconds: Math.round(300 * (1 + random())),
    idleTimeoutMs: timings.idleTimeoutMs,
    signal,
  });
