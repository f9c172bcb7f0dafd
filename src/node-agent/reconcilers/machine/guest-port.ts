import { Duplex } from "node:stream";
import type { startProgram } from "../../host/command.ts";

/** A port of a guest, as this node reaches it. */
export interface GuestPort {
  /** The guest's tap: two guests of different Networks may have the same address. */
  readonly tap: string;
  readonly address: string;
  readonly port: number;
}

/** Opens a connection to a guest. Rejects when there is none within a few seconds. */
export type OpenGuestPort = (to: GuestPort, options: { readonly signal: AbortSignal }) => Promise<Duplex>;

const CONNECT_SECONDS = 10;
/** The other direction may stay open for so long after one has been closed, in seconds. */
const HALF_CLOSED_SECONDS = 3_600;
/** As long as a timer can be: a connection lasts until somebody ends it. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_WORDS = 4_096;

/** Standard input and output; the latter is closed when the guest has said its last, and not only at the very end. */
const OURS = "STDIO,shut-close";

/**
 * What socat says once both sides are open; https://manpages.debian.org/socat
 * Whether it tells of the connection itself depends on how that came about.
 */
const CONNECTED = /starting data transfer loop/;

/**
 * By socat, which binds its socket to the guest's tap; Node cannot choose the
 * device of a socket. Arguments are vectors of checked values.
 */
export const createOpenGuestPort =
  (start: typeof startProgram): OpenGuestPort =>
  async ({ tap, address, port }, { signal }) => {
    const target = `TCP4:${address}:${port},so-bindtodevice=${tap},connect-timeout=${CONNECT_SECONDS}`;
    const args = ["-d", "-d", "-t", String(HALF_CLOSED_SECONDS), OURS, target];
    const { child, kill, ended } = start("socat", args, { stdin: "pipe", signal, timeoutMs: NO_TIMEOUT_MS });
    const { stdin, stdout, stderr } = child;
    if (stdin === null || stdout === null || stderr === null) throw new Error("socat has no pipes");
    const connected = Promise.withResolvers<void>();
    let words = "";
    stderr.on("data", (chunk: Buffer) => {
      if (words.length < MAX_WORDS) words += chunk.toString("utf8");
      if (CONNECTED.test(words)) connected.resolve();
    });
    const stream = Duplex.from({ writable: stdin, readable: stdout });
    stream.once("close", () => kill());
    ended(() => words).then(
      () => connected.resolve(),
      (error: Error) => {
        connected.reject(error);
        stream.destroy();
      },
    );
    stream.on("error", () => {});
    await connected.promise;
    return stream;
  };
