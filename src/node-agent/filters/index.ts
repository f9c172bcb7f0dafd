import type { GuestFilter } from "./types.ts";

export type { GuestFilter } from "./types.ts";

export interface FiltersCallOptions {
  readonly signal: AbortSignal;
}

/**
 * The packet filter around this node's guests. It is whole-node: each call says
 * what all guests are to have, and a tap that is not named gets nothing through.
 */
export interface Filters {
  /**
   * Makes the rules equal to what `guests` say, in one step for the kernel;
   * does nothing when they are. To be awaited before a guest is started.
   */
  sync(guests: readonly GuestFilter[], options: FiltersCallOptions): Promise<void>;
  /** Removes every rule and chain of ours. */
  tearDown(options: FiltersCallOptions): Promise<void>;
}
