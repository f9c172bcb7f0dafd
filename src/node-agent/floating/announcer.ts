import { setTimeout as delay } from "node:timers/promises";
import type { FloatingLogger, Placement } from "./types.ts";

/** Tells the neighbours of addresses that are new here, in the background. */
export interface Announcer {
  begin(placement: Placement): void;
  /** Resolves when nothing more is said of the address: another node may be about to. */
  end(address: string): Promise<void>;
}

/** When it is said, in ms after the beginning: a single frame gets lost, or a switch still learns. */
const AT_MS: readonly number[] = [0, 200, 700, 2_000];

interface Announcement {
  readonly controller: AbortController;
  readonly done: Promise<void>;
}

export const createAnnouncer = (
  announce: (placement: Placement, signal: AbortSignal) => Promise<void>,
  logger: FloatingLogger,
): Announcer => {
  const running = new Map<string, Announcement>();

  const say = async (placement: Placement, signal: AbortSignal): Promise<void> => {
    const times = AT_MS.map(async (ms) => {
      await delay(ms, undefined, { signal, ref: false });
      await announce(placement, signal);
    });
    for (const outcome of await Promise.allSettled(times)) {
      if (outcome.status === "rejected" && !signal.aborted) {
        logger.warn({ err: outcome.reason as unknown, ...placement }, "cannot announce a floating address");
      }
    }
  };
  const end = async (address: string): Promise<void> => {
    const announcement = running.get(address);
    running.delete(address);
    announcement?.controller.abort();
    await announcement?.done;
  };
  return {
    begin: (placement) => {
      running.get(placement.address)?.controller.abort();
      const controller = new AbortController();
      const done = say(placement, controller.signal).finally(() => {
        if (running.get(placement.address)?.controller === controller) running.delete(placement.address);
      });
      running.set(placement.address, { controller, done });
    },
    end,
  };
};
