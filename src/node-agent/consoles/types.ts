import type { Duplex } from "node:stream";

/** Where a guest's serial port is. */
export interface ConsoleSource {
  /** Connects to the serial port, which takes one connection at a time. Rejects while the guest is off. */
  connect(signal: AbortSignal): Promise<Duplex>;
  /** The last bytes of the console's log, `maxBytes` at most. */
  recent(maxBytes: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** Many people at one serial port. */
export interface Consoles {
  /**
   * A viewer: hears the recent part of the log first, then what the guest says
   * from now on; what is written to it goes to the guest. It stays when the
   * guest restarts, and is ended by `release`. Rejects when the serial port
   * cannot be reached now. Destroy it to leave.
   */
  attach(uid: string, source: ConsoleSource, signal: AbortSignal): Promise<Duplex>;
  /** The guest is gone for good: its viewers' streams end. */
  release(uid: string): void;
}
