import { Hub, type HubOptions } from "./hub.ts";
import type { Consoles } from "./types.ts";

export type { Consoles, ConsoleSource } from "./types.ts";

const systemAfter: HubOptions["after"] = (ms, callback) => {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
};

/** Guests' serial ports for any number of viewers each. Nothing is held while nobody looks. */
export const createConsoles = ({
  after = systemAfter,
}: { readonly after?: HubOptions["after"] } = {}): Consoles => {
  const hubs = new Map<string, Hub>();
  const hubOf = (uid: string, source: HubOptions["source"]): Hub => {
    const found = hubs.get(uid);
    if (found !== undefined) return found;
    const hub: Hub = new Hub({
      source,
      after,
      onEmpty: () => {
        if (hubs.get(uid) === hub) hubs.delete(uid);
      },
    });
    hubs.set(uid, hub);
    return hub;
  };
  return {
    attach: (uid, source, signal) => hubOf(uid, source).join(signal),
    release: (uid) => {
      hubs.get(uid)?.release();
      hubs.delete(uid);
    },
  };
};
