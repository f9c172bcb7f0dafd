import type { Link, Tap } from "./types.ts";

export type { Link, Tap } from "./types.ts";
export { tapName } from "./types.ts";

export interface LinksCallOptions {
  readonly signal: AbortSignal;
}

/**
 * The network devices of this node's guests: a tap for each interface, a route
 * to it, and the gateways. Every verb may be repeated and completes what a
 * killed agent left half-done. They run one after the other.
 */
export interface Links {
  /**
   * Prepares the node: forwarding, the gateways' device. Removes taps that were
   * left half-made. To be called before the other verbs, and again at any time.
   */
  setUp(options: LinksCallOptions): Promise<void>;
  /** Makes the machine's taps as they are to be, and removes taps that it no longer has. */
  ensure(want: Link, options: LinksCallOptions): Promise<readonly Tap[]>;
  /** Removes the machine's taps, and gateways that no tap uses any more. */
  remove(vmUid: string, options: LinksCallOptions): Promise<void>;
  /** UIDs of the machines that have a tap here. */
  list(options: LinksCallOptions): Promise<readonly string[]>;
  /** Removes all taps and the gateways' device. Forwarding stays as it is: others may need it. */
  tearDown(options: LinksCallOptions): Promise<void>;
}
