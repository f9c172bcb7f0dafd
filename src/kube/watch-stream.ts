import { TextDecoder } from "node:util";
import { ApiError, readStatus } from "./api-error.ts";
import { asRawObject, type RawObject } from "./object-codec.ts";

/** One event of a watch. https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes */
export type WatchEvent =
  | {
      readonly kind: "added" | "modified" | "deleted";
      readonly object: RawObject;
      readonly resourceVersion: string;
    }
  | {
      readonly kind: "bookmark";
      readonly resourceVersion: string;
      /** Everything that existed when the watch began has been sent. */
      readonly initialEventsEnd: boolean;
    };

/** The stream is not what a watch sends: its place in the history is lost. */
export class WatchProtocolError extends Error {
  override readonly name = "WatchProtocolError";
}

/** No object of Kubernetes comes near this (etcd takes 1.5 MiB); a longer line is not a watch. */
const MAX_LINE_CHARS = 16 * 1024 * 1024;

const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** The lines of a stream of bytes. A rest without a line feed is an error: the stream was cut in it. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  for await (const chunk of chunks) {
    rest += decodeChunk(decoder, chunk);
    let start = 0;
    for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n", start)) {
      yield rest.slice(start, end);
      start = end + 1;
    }
    rest = rest.slice(start);
    if (rest.length > MAX_LINE_CHARS)
      throw new WatchProtocolError("a line of the watch is longer than 16 MiB");
  }
  if (rest.trim() !== "") throw new WatchProtocolError("the watch ended in the middle of a line");
}

const decodeChunk = (decoder: TextDecoder, chunk: Uint8Array): string => {
  try {
    return decoder.decode(chunk, { stream: true });
  } catch (cause) {
    throw new WatchProtocolError("the watch sent bytes that are not UTF-8", { cause });
  }
};

/** Parses one line; throws ApiError for an ERROR event and WatchProtocolError for anything unknown. */
export const parseWatchLine = (what: string, line: string): WatchEvent => {
  const { type, object } = parseEnvelope(line);
  if (type === "ERROR") {
    const status = readStatus(object);
    throw new ApiError(what, status.code ?? 500, status);
  }
  if (type === "BOOKMARK") return bookmarkOf(object);
  const kind = eventKinds.get(type);
  const raw = asRawObject(object);
  if (kind === undefined) throw new WatchProtocolError(`the watch sent an event of unknown type ${type}`);
  if (raw?.metadata.resourceVersion === undefined)
    throw new WatchProtocolError(`the watch sent ${type} without a name or resourceVersion`);
  return { kind, object: raw, resourceVersion: raw.metadata.resourceVersion };
};

const eventKinds: ReadonlyMap<string, "added" | "modified" | "deleted"> = new Map([
  ["ADDED", "added"],
  ["MODIFIED", "modified"],
  ["DELETED", "deleted"],
]);

const parseEnvelope = (line: string): { type: string; object: unknown } => {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new WatchProtocolError(`the watch sent a line that is not JSON: ${line.slice(0, 80)}`, { cause });
  }
  if (typeof value === "object" && value !== null && "type" in value && "object" in value)
    return { type: String(value.type), object: value.object };
  throw new WatchProtocolError(`the watch sent a line that is no event: ${line.slice(0, 80)}`);
};

const bookmarkOf = (object: unknown): WatchEvent => {
  const metadata =
    typeof object === "object" && object !== null && "metadata" in object ? object.metadata : undefined;
  const { resourceVersion, annotations } = (metadata ?? {}) as Record<string, unknown>;
  if (typeof resourceVersion !== "string")
    throw new WatchProtocolError("the watch sent a BOOKMARK without a resourceVersion");
  const marks = (annotations ?? {}) as Record<string, unknown>;
  return { kind: "bookmark", resourceVersion, initialEventsEnd: marks[INITIAL_EVENTS_END] === "true" };
};
