import type { EventEmitter } from "node:events";
import { linkAbort } from "./abort.ts";
import { systemClock, type Clock } from "./clock.ts";
import type { Logger } from "./logger.ts";

/** Something that works until it is aborted. */
export type Task = (signal: AbortSignal) => Promise<void>;

/**
 * Runs tasks together: when one of them ends or fails, or the signal is
 * aborted, the others are aborted too. Settles when all have; rejects with the
 * first failure. A task that ends although nobody asked it to is a failure.
 */
export const runTogether = async (
  tasks: Readonly<Record<string, Task>>,
  signal: AbortSignal,
): Promise<void> => {
  const group = linkAbort(signal);
  const failures: unknown[] = [];
  const runOne = async (name: string, task: Task): Promise<void> => {
    try {
      await task(group.signal);
      if (!group.signal.aborted) throw new Error(`${name} ended, although nobody asked it to`);
    } catch (error) {
      // After the abort, rejecting with its reason is the polite way to end.
      if (!(group.signal.aborted && error === group.signal.reason)) failures.push(error);
      group.abort(new Error(`${name} ended`));
    }
  };
  await Promise.all(Object.entries(tasks).map(([name, task]) => runOne(name, task)));
  group.unlink();
  if (failures.length > 0) throw failures[0];
};

export interface RunUntilShutdownOptions {
  readonly logger: Logger;
  readonly run: Task;
  /** Time to end in after SIGTERM or SIGINT, in ms. Below the pod's terminationGracePeriodSeconds. Default 20 s. */
  readonly graceMs?: number | undefined;
  /** Where the signals come from. Default: this process. */
  readonly source?: Pick<EventEmitter, "on" | "off"> | undefined;
  readonly clock?: Clock | undefined;
}

/** The reason of the signal after SIGTERM or SIGINT. */
export class ShutdownError extends Error {
  override readonly name = "ShutdownError";
}

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/**
 * Runs a program until it is asked to end, and returns its exit code: 0 when it
 * ended as asked and in time, 1 when it failed, did not end in time, or was
 * asked twice. The caller exits with it; whatever still runs is no longer waited for.
 */
export const runUntilShutdown = async (options: RunUntilShutdownOptions): Promise<number> => {
  const { logger, graceMs = 20_000, source = process, clock = systemClock } = options;
  const controller = new AbortController();
  const { promise: impatient, resolve: giveUp } = Promise.withResolvers<number>();
  let cancelGrace: (() => void) | undefined;
  const onSignal = (name: string): void => {
    if (controller.signal.aborted) {
      logger.warn({ signal: name }, "asked twice to end; leaving at once");
      giveUp(1);
      return;
    }
    logger.info({ signal: name, graceMs }, "ending");
    cancelGrace = clock.after(graceMs, () => {
      logger.error({ graceMs }, "could not end in time; leaving");
      giveUp(1);
    });
    controller.abort(new ShutdownError(`received ${name}`));
  };
  for (const name of SIGNALS) source.on(name, onSignal);
  try {
    return await Promise.race([exitCodeOf(options, controller.signal), impatient]);
  } finally {
    cancelGrace?.();
    for (const name of SIGNALS) source.off(name, onSignal);
  }
};

const exitCodeOf = async ({ run, logger }: RunUntilShutdownOptions, signal: AbortSignal): Promise<number> => {
  try {
    await run(signal);
    return 0;
  } catch (error) {
    if (signal.aborted && error === signal.reason) return 0;
    logger.error({ err: error }, "the program failed");
    return 1;
  }
};
