import { type Clock, systemClock } from "../../src/kube/index.ts";

/** The system's clock, which a test puts forward at will. */
export interface TravellingClock extends Clock {
  travel(ms: number): void;
}

export const travellingClock = (): TravellingClock => {
  let offset = 0;
  const waiting = new Set<() => void>();
  const monotonic = (): number => performance.now() + offset;
  return {
    now: () => Date.now() + offset,
    monotonic,
    after: (ms, callback) => {
      const due = monotonic() + ms;
      let disarm = (): void => {};
      const arm = (): void => {
        disarm = systemClock.after(due - monotonic(), look);
      };
      const look = (): void => {
        disarm();
        // A timer may come a moment too early.
        if (monotonic() < due) return arm();
        waiting.delete(look);
        callback();
      };
      waiting.add(look);
      arm();
      return () => {
        disarm();
        waiting.delete(look);
      };
    },
    travel: (ms) => {
      offset += ms;
      for (const look of waiting) look();
    },
  };
};
