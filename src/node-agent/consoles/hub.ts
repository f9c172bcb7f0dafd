import type { Duplex } from "node:stream";
import type { ConsoleSource } from "./types.ts";
import { Viewer } from "./viewer.ts";

/** How much of the log a new viewer sees, in bytes: some screens. */
const RECENT_BYTES = 16_384;
/** How long a restarting guest is given between two tries to reach it, in ms. */
const RECONNECT_MS = 500;

export interface HubOptions {
  readonly source: ConsoleSource;
  /** Calls back once after `ms`; the returned function cancels it. */
  readonly after: (ms: number, callback: () => void) => () => void;
  /** The last viewer has left. */
  readonly onEmpty: () => void;
}

/**
 * One guest's serial port and those who look at it. Connected while there is
 * anybody, so that an idle agent keeps the port from nobody, and connected
 * again when the guest has restarted.
 */
export class Hub {
  readonly #options: HubOptions;
  readonly #viewers = new Set<Viewer>();
  readonly #abort = new AbortController();
  #port: Duplex | undefined;
  #connecting: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;

  constructor(options: HubOptions) {
    this.#options = options;
  }

  /** Rejects when the serial port cannot be reached. */
  async join(signal: AbortSignal): Promise<Viewer> {
    const viewer = new Viewer({ onInput: (chunk, done) => this.#say(chunk, done) });
    this.#viewers.add(viewer);
    viewer.once("close", () => this.#leave(viewer));
    try {
      await this.#connect();
      viewer.begin(await this.#options.source.recent(RECENT_BYTES, signal));
      return viewer;
    } catch (error) {
      viewer.destroy();
      throw error;
    }
  }

  /** Ends all viewers' streams, and leaves the port. */
  release(): void {
    for (const viewer of this.#viewers) viewer.finish();
    this.#disconnect();
  }

  #leave(viewer: Viewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    this.#disconnect();
    this.#options.onEmpty();
  }

  #disconnect(): void {
    this.#abort.abort();
    this.#cancelRetry?.();
    this.#port?.destroy();
    this.#port = undefined;
  }

  /** Together with everybody who asks meanwhile: the port takes one connection. */
  #connect(): Promise<void> {
    if (this.#port !== undefined) return Promise.resolve();
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #open(): Promise<void> {
    const port = await this.#options.source.connect(this.#abort.signal);
    if (this.#abort.signal.aborted) {
      port.destroy();
      return;
    }
    this.#port = port;
    port.on("data", (chunk: Buffer) => {
      for (const viewer of this.#viewers) viewer.hear(chunk);
    });
    port.on("error", () => {});
    // Either says that the guest is off: what is half closed is of no use here.
    port.once("end", () => port.destroy());
    port.once("close", () => {
      if (this.#port !== port) return;
      this.#port = undefined;
      this.#reconnectLater();
    });
  }

  #reconnectLater(): void {
    if (this.#abort.signal.aborted) return;
    this.#cancelRetry = this.#options.after(RECONNECT_MS, () => {
      this.#connect().catch(() => this.#reconnectLater());
    });
  }

  /** What is said to a guest that is off is lost, as on any serial line. */
  #say(chunk: Buffer, done: () => void): void {
    const port = this.#port;
    if (port === undefined || port.destroyed) done();
    else port.write(chunk, () => done());
  }
}
