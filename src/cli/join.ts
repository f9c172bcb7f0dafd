import { finished, pipeline } from "node:stream/promises";
import type { Duplex } from "node:stream";
import type { Clock } from "../kube/index.ts";

export interface JoinOptions {
  readonly clock: Clock;
  /** How long the guest may still be silent, in ms, once the local side has said its last. */
  readonly lingerMs: number;
}

/**
 * Joins a local connection with one to a guest; resolves when both are over.
 *
 * A websocket cannot be closed in one direction. So when the local side has
 * said its last, the guest does not hear of it: it may finish what it says, and
 * is left when it has been silent for a while.
 */
export const joinConnection = async (local: Duplex, remote: Duplex, options: JoinOptions): Promise<void> => {
  const stopLingering = lingerAfter(local, remote, options);
  const up = pipeline(local, remote, { end: false });
  const down = pipeline(remote, local);
  await Promise.allSettled([down, up.catch(() => void remote.destroy())]);
  stopLingering();
  local.destroy();
  remote.destroy();
};

const lingerAfter = (local: Duplex, remote: Duplex, { clock, lingerMs }: JoinOptions): (() => void) => {
  let cancel: (() => void) | undefined;
  const rearm = (): void => {
    cancel?.();
    cancel = clock.after(lingerMs, () => void remote.end());
  };
  local.once("end", () => {
    rearm();
    remote.on("data", rearm);
  });
  return () => {
    cancel?.();
    remote.off("data", rearm);
  };
};

/** Joins standard input and output with a guest; the end of the input is the end, as ssh means it. */
export const joinStdio = async (
  stdin: NodeJS.ReadableStream,
  stdout: NodeJS.WritableStream,
  remote: Duplex,
): Promise<void> => {
  const up = pipeline(stdin, remote).catch(() => {});
  const down = pipeline(remote, stdout, { end: false }).catch(() => {});
  await Promise.race([down, up.then(() => finished(remote).catch(() => {}))]);
  remote.destroy();
};
