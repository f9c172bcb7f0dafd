import { KeepaliveError } from "./errors.ts";

export interface KeepaliveOptions {
  /** How often the silence is looked at, in ms. Default 5000, as libvirt's. */
  readonly intervalMs?: number;
  /** How many pings in a row may stay unanswered. Default 5, as libvirt's. */
  readonly count?: number;
}

export interface KeepaliveEffects {
  readonly ping: () => void;
  readonly dead: (error: KeepaliveError) => void;
}

/**
 * Notices a peer that is there but does nothing: after `count` pings without a
 * sign of life it is declared dead, within count + 2 intervals.
 *
 * It counts its own ticks rather than the time. When this very process was
 * stopped for a while, what the peer said meanwhile is read before the next
 * tick, and the peer is not blamed.
 * https://libvirt.org/kbase/internals/rpc.html
 */
export class Keepalive {
  readonly #timer: NodeJS.Timeout;
  readonly #count: number;
  readonly #effects: KeepaliveEffects;
  #heard = true;
  #unanswered = 0;

  constructor({ intervalMs = 5_000, count = 5 }: KeepaliveOptions, effects: KeepaliveEffects) {
    this.#count = count;
    this.#effects = effects;
    this.#timer = setInterval(() => this.#tick(intervalMs), intervalMs);
  }

  /** Anything at all has arrived. */
  heard(): void {
    this.#heard = true;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(intervalMs: number): void {
    if (this.#heard) {
      this.#heard = false;
      this.#unanswered = 0;
      return;
    }
    if (this.#unanswered < this.#count) {
      this.#unanswered += 1;
      this.#effects.ping();
      return;
    }
    this.stop();
    this.#effects.dead(
      new KeepaliveError(`libvirtd did not answer ${this.#count} pings, one every ${intervalMs} ms`),
    );
  }
}
