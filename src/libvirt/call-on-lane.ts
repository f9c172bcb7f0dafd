import type { Procedure } from "./procedure.ts";
import type { CallOptions, Lane } from "./types.ts";

/** Calls a procedure on the connection of that lane. */
export type CallOnLane = <A, R>(
  lane: Lane,
  procedure: Procedure<A, R>,
  args: A,
  options?: CallOptions,
) => Promise<R>;

export interface DownloadOptions extends CallOptions {
  /** The most bytes to take. */
  readonly maxBytes: number;
}

/** The result of a procedure, and what it sent on its stream. */
export interface Downloaded<R> {
  readonly result: R;
  readonly bytes: Buffer;
}

/** Calls a procedure that answers with a stream besides. The deadline is that of both. */
export type DownloadOnLane = <A, R>(
  lane: Lane,
  procedure: Procedure<A, R>,
  args: A,
  options: DownloadOptions,
) => Promise<Downloaded<R>>;

/** Of calls that take as long as they take. Keepalive still notices a daemon that has stopped. */
export const NO_DEADLINE: CallOptions = { timeoutMs: Number.POSITIVE_INFINITY };
