import { randomBytes } from "node:crypto";
import type { KubernetesObject } from "../api/meta.ts";
import type { Clock } from "./clock.ts";

/** What an event is about. */
export type EventSubject = Pick<KubernetesObject, "apiVersion" | "kind"> & {
  readonly metadata: Pick<KubernetesObject["metadata"], "name" | "namespace" | "uid">;
};

export interface Occurrence {
  readonly object: EventSubject;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly note: string;
  /** Wall time in ms. */
  readonly at: number;
}

/** Occurrences that say the same of the same object: one Event object with a count. */
export interface Series {
  /** Of the Event object. */
  readonly name: string;
  readonly first: Occurrence;
  readonly count: number;
  readonly lastAt: number;
  /** The count that the API server knows; 0 before it knows of the series. */
  readonly sentCount: number;
}

/** Decides what becomes of an occurrence: a new event, a higher count of a known one, or nothing. */
export interface SeriesBook {
  /** The series that it belongs to; undefined when the object has used up its events. */
  record(occurrence: Occurrence): Series | undefined;
  /** How long to wait, in ms, before the series is sent (again). */
  waitMs(series: Series): number;
  /** The API server knows of `count` occurrences. */
  sent(series: Series, count: number): void;
  /** It could not be sent: the next occurrence begins anew. */
  forget(series: Series): void;
}

/** The same again within this time is counted; later it is news. */
const SERIES_ENDS_AFTER_MS = 6 * 60_000;
/** A count is sent at most so often. */
const SERIES_INTERVAL_MS = 10_000;
/** Different events about one object: so many at once, and then one per interval. */
const BURST = 25;
const REFILL_INTERVAL_MS = 60_000;
/** Bounds the memory; the ones used least recently go first. */
const MAX_REMEMBERED = 4096;

interface MutableSeries extends Series {
  readonly id: string;
  count: number;
  lastAt: number;
  sentCount: number;
  sendableAt: number;
}

interface Bucket {
  tokens: number;
  filledAt: number;
}

export const createSeriesBook = (clock: Clock): SeriesBook => {
  const series = new Map<string, MutableSeries>();
  const buckets = new Map<string, Bucket>();
  const mutable = ({ first }: Series): MutableSeries | undefined => series.get(idOf(first));
  return {
    record: (occurrence) => {
      const id = idOf(occurrence);
      const known = series.get(id);
      if (known !== undefined && occurrence.at - known.lastAt < SERIES_ENDS_AFTER_MS) {
        known.count += 1;
        known.lastAt = occurrence.at;
        touch(series, id, known);
        return known;
      }
      if (!takeToken(buckets, occurrence.object.metadata.uid, clock.monotonic())) return undefined;
      const fresh = begin(id, occurrence);
      touch(series, id, fresh);
      return fresh;
    },
    waitMs: (of) => (mutable(of)?.sendableAt ?? 0) - clock.monotonic(),
    sent: (of, count) => {
      const known = mutable(of);
      if (known === undefined) return;
      known.sentCount = count;
      known.sendableAt = clock.monotonic() + SERIES_INTERVAL_MS;
    },
    forget: ({ first }) => void series.delete(idOf(first)),
  };
};

const begin = (id: string, first: Occurrence): MutableSeries => ({
  id,
  name: eventName(first.object.metadata.name),
  first,
  count: 1,
  lastAt: first.at,
  sentCount: 0,
  sendableAt: 0,
});

const idOf = ({ object, type, reason, note }: Occurrence): string =>
  JSON.stringify([object.metadata.uid, type, reason, note]);

const takeToken = (buckets: Map<string, Bucket>, uid: string, now: number): boolean => {
  const bucket = buckets.get(uid) ?? { tokens: BURST, filledAt: now };
  const refill = Math.floor((now - bucket.filledAt) / REFILL_INTERVAL_MS);
  bucket.tokens = Math.min(BURST, bucket.tokens + refill);
  bucket.filledAt += refill * REFILL_INTERVAL_MS;
  touch(buckets, uid, bucket);
  if (bucket.tokens === 0) return false;
  bucket.tokens -= 1;
  return true;
};

/** Makes this the entry used last, and drops the one used least recently when there are too many. */
const touch = <V>(entries: Map<string, V>, id: string, value: V): void => {
  entries.delete(id);
  entries.set(id, value);
  if (entries.size <= MAX_REMEMBERED) return;
  for (const oldest of entries.keys()) {
    entries.delete(oldest);
    return;
  }
};

/** A name that fits into 253 characters: the object's, cut, and a random suffix. */
const eventName = (objectName: string): string =>
  `${objectName.slice(0, 230).replace(/[^a-z0-9]+$/u, "")}.${randomBytes(8).toString("hex")}`;
