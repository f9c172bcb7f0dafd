import type { Duplex } from "node:stream";
import { virtualMachines, type VirtualMachine } from "../../api/virtual-machine.ts";
import { ApiError, backoffDelay, linkAbort, sleep, TransportError } from "../../kube/index.ts";
import { CommandFailedError } from "../errors.ts";
import { untilDone } from "../follow.ts";
import { done, failed, waiting, type Judge } from "../judge.ts";
import type { Session } from "../session.ts";
import { splitAtEscape } from "./escape.ts";

export interface ConsoleOptions {
  readonly machine: string;
  /** Connects again when the guest ends or the connection breaks. */
  readonly reconnect: boolean;
}

/** The user has pressed the escape key. */
class LeftError extends Error {
  override readonly name = "LeftError";
}

const BACKOFF = { initialMs: 250, maxMs: 5_000 };
const FOR_EVER_MS = 2 ** 31 - 1;
const GOODBYE_MS = 500;
/** What is typed for a guest that does not read, in bytes; more than a screenful that was pasted. */
const MAX_TYPED_AHEAD = 64 * 1024;

/**
 * Joins this terminal with a guest's serial console until the user leaves by
 * Ctrl-]. On a terminal every key goes to the guest, Ctrl-C included; without
 * one, what standard input has goes there, and its end is not the end: the
 * output goes on.
 */
export const runConsole = async (session: Session, options: ConsoleOptions): Promise<void> => {
  const own = linkAbort(session.signal);
  const keyboard = openKeyboard(session, () => own.abort(new LeftError("left")));
  try {
    await stayConnected({ ...session, signal: own.signal }, options, keyboard);
  } catch (error) {
    if (!(own.signal.reason instanceof LeftError)) throw error;
  } finally {
    own.unlink();
    keyboard.close();
  }
};

/** Whatever is typed goes to the stream that is connected at that moment; typed into nothing it is lost. */
interface Keyboard {
  connect(stream: Duplex | undefined): void;
  /** The terminal is as it was before. */
  close(): void;
}

const openKeyboard = ({ host: { stdin } }: Session, leave: () => void): Keyboard => {
  let current: Duplex | undefined;
  const isTerminal = stdin.isTTY === true;
  const resume = (): void => void stdin.resume();
  const onData = (chunk: Buffer): void => {
    const { bytes, leaves } = isTerminal ? splitAtEscape(chunk) : { bytes: chunk, leaves: false };
    if (bytes.length > 0 && current?.writable === true) hand(bytes, current);
    if (leaves) leave();
  };
  /** A guest that does not read must not fill our memory, nor keep a person from leaving. */
  const hand = (bytes: Uint8Array, stream: Duplex): void => {
    if (isTerminal && stream.writableLength > MAX_TYPED_AHEAD) return;
    if (stream.write(bytes) || isTerminal) return;
    stdin.pause();
    stream.once("drain", resume);
    stream.once("close", resume);
  };
  const onEnd = (): void => {
    // A terminal that is gone takes no output either.
    if (isTerminal) leave();
  };
  if (isTerminal) stdin.setRawMode?.(true);
  stdin.on("data", onData);
  stdin.on("end", onEnd);
  // Nothing is connected yet: see below.
  if (!isTerminal) stdin.pause();
  return {
    connect: (stream) => {
      current = stream;
      // What comes through a pipe can wait for the connection; a person sees whether there is one.
      if (stream !== undefined || isTerminal) stdin.resume();
      else stdin.pause();
    },
    close: () => {
      stdin.off("data", onData);
      stdin.off("end", onEnd);
      if (isTerminal) stdin.setRawMode?.(false);
      stdin.pause();
    },
  };
};

const stayConnected = async (
  session: Session,
  options: ConsoleOptions,
  keyboard: Keyboard,
): Promise<void> => {
  const { say, signal } = session;
  for (let failures = 0; ;) {
    try {
      await converse(session, options, keyboard);
      failures = 0;
      if (!options.reconnect) throw new CommandFailedError("the console has ended");
      say.progress("[the console has ended: the guest was switched off, or the connection broke]");
    } catch (error) {
      if (signal.aborted || !isPassing(error) || !options.reconnect) throw error;
      failures += 1;
      if (failures === 1) say.progress(`[${(error as Error).message}]`);
    }
    // The node says so a moment before the machine's status does; then this takes a turn or two.
    await sleep(session.clock, backoffDelay(failures + 1, BACKOFF, session.random), signal);
    await untilGuestRuns(session, options.machine);
  }
};

/** The guest is off just now, or somebody on the way does not answer. */
const isPassing = (error: unknown): boolean =>
  error instanceof TransportError || (error instanceof ApiError && (error.isRetryable || error.isConflict));

/** One connection, to its end. */
const converse = async (session: Session, { machine }: ConsoleOptions, keyboard: Keyboard): Promise<void> => {
  const { host, say, signal } = session;
  const cluster = await session.cluster();
  const { stream } = await cluster.connect(machine, "console", { signal });
  // What was typed last still goes out; a peer that does not answer is not waited for.
  const onAbort = (): void => {
    stream.end();
    session.clock.after(GOODBYE_MS, () => void stream.destroy());
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const key = host.stdin.isTTY === true ? "Ctrl-]" : "Ctrl-C";
    say.progress(`[connected to the console of ${machine}; ${key} leaves]`);
    keyboard.connect(stream);
    await copyOut(stream, host.stdout);
  } finally {
    keyboard.connect(undefined);
    signal.removeEventListener("abort", onAbort);
    stream.destroy();
  }
  signal.throwIfAborted();
};

/** Everything the guest says, with back-pressure; a connection that breaks is an end like any other. */
const copyOut = async (stream: Duplex, stdout: Session["host"]["stdout"]): Promise<void> => {
  try {
    for await (const chunk of stream) {
      if (!stdout.write(chunk as Uint8Array))
        await new Promise<void>((resolve) => stdout.once("drain", () => resolve()));
    }
  } catch {
    // What is to be said about it is the same: it is over.
  }
};

const judgeRunning: Judge<VirtualMachine> = ({ metadata, spec, status }) => {
  if (metadata.deletionTimestamp !== undefined) return failed("it is being deleted");
  const state = status?.guest?.powerState;
  if (state === "Running" || state === "Paused") return done(state);
  const isOff = spec.runStrategy === "Halted";
  const how = isOff ? `; "kubectl vireo start ${metadata.name}" starts it` : "";
  return waiting(`the guest is off; waiting until it runs${how}`);
};

const untilGuestRuns = async (session: Session, name: string): Promise<void> => {
  const follow = { resource: virtualMachines, name, judge: judgeRunning, timeoutMs: FOR_EVER_MS };
  await untilDone(session, follow);
};
