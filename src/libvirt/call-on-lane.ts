import type { Procedure } from "./procedure.ts";
import type { CallOptions, Lane } from "./types.ts";

/** Calls a procedure on the connection of that lane. */
export type CallOnLane = <A, R>(
  lane: Lane,
  procedure: Procedure<A, R>,
  args: A,
  options?: CallOptions,
) => Promise<R>;

/** Of calls that take as long as they take. Keepalive still notices a daemon that has stopped. */
export const NO_DEADLINE: CallOptions = { timeoutMs: Number.POSITIVE_INFINITY };
