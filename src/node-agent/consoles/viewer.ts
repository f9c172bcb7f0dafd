import { Duplex } from "node:stream";

/** What a viewer who does not read may have waiting for him, in bytes; more is left out. */
const MAX_WAITING_BYTES = 1024 * 1024;

export interface ViewerOptions {
  /** Hands on what the viewer says; calls back when it may say more. */
  readonly onInput: (chunk: Buffer, done: () => void) => void;
}

/**
 * One person at the serial port. Guest and other viewers never wait for him: if
 * he does not read, he misses something, and is told how much.
 */
export class Viewer extends Duplex {
  readonly #onInput: ViewerOptions["onInput"];
  #missedBytes = 0;
  #isFinished = false;
  /** What the guest has said while the log was being read; undefined once that has been passed on. */
  #held: Buffer[] | undefined = [];

  constructor({ onInput }: ViewerOptions) {
    super({ readableHighWaterMark: MAX_WAITING_BYTES, allowHalfOpen: false });
    this.#onInput = onInput;
  }

  /** What the guest says now. */
  hear(chunk: Buffer): void {
    if (this.#held === undefined) this.#pass(chunk);
    else this.#held.push(chunk);
  }

  /**
   * What it said before. Until then everything is held back. The guest may have
   * spoken between the two looks: that is in both, rather than in neither.
   */
  begin(recent: Uint8Array): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const chunk of [Buffer.from(recent), ...held]) if (chunk.length > 0) this.#pass(chunk);
  }

  /** The guest will say nothing any more. */
  finish(): void {
    if (this.#isFinished || this.destroyed) return;
    this.#isFinished = true;
    this.push(null);
  }

  override _read(): void {
    if (this.#missedBytes === 0 || this.#isFinished) return;
    const missed = this.#missedBytes;
    this.#missedBytes = 0;
    this.push(`\r\n[${missed} bytes of the console were left out: they came faster than they were read]\r\n`);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#onInput(chunk, done);
  }

  #pass(chunk: Buffer): void {
    if (this.#isFinished || this.destroyed) return;
    if (this.#missedBytes > 0 || this.readableLength >= MAX_WAITING_BYTES) this.#missedBytes += chunk.length;
    else this.push(chunk);
  }
}
