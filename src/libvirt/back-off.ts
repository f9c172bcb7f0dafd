export interface BackOffOptions {
  /** The first pause, in ms. Default 100. */
  readonly minMs?: number;
  /** The longest pause, in ms. Default 10,000. */
  readonly maxMs?: number;
  /** A number from 0 to below 1. Default Math.random. */
  readonly random?: () => number;
}

/**
 * Pauses that double, each between half and the whole of its length: many
 * clients that lost the same daemon do not come back in step.
 */
export class BackOff {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor({ minMs = 100, maxMs = 10_000, random = Math.random }: BackOffOptions = {}) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** The pause before the next attempt, in ms. */
  next(): number {
    const whole = Math.min(this.#maxMs, this.#minMs * 2 ** this.#failures);
    this.#failures += 1;
    return (whole / 2) * (1 + this.#random());
  }

  /** What was tried lasted `ms`. Only what outlasts the longest pause counts as a success: see below. */
  succeeded(ms: number): void {
    // A daemon that accepts and drops at once would otherwise be asked ten times a second for ever.
    if (ms >= this.#maxMs) this.#failures = 0;
  }
}
