import type { LinkDriver } from "./driver.ts";
import { isEmpty } from "./steps.ts";
import type { ObservedLinks } from "./types.ts";

/**
 * How long an observation may serve several verbs, in ms. A look at the node
 * costs two processes; when all machines are looked at in turn, one look does.
 */
const OBSERVATION_LIFE_MS = 1_000;

/** Shares what was observed a moment ago, until something is changed here. */
export const sharingObservations = (driver: LinkDriver, monotonicMs: () => number): LinkDriver => {
  let recent: { readonly links: ObservedLinks; readonly at: number } | undefined;
  return {
    observe: async (signal) => {
      if (recent !== undefined && monotonicMs() - recent.at < OBSERVATION_LIFE_MS) return recent.links;
      const at = monotonicMs();
      const links = await driver.observe(signal);
      recent = { links, at };
      return links;
    },
    apply: async (plan, signal) => {
      if (isEmpty(plan)) return;
      recent = undefined;
      await driver.apply(plan, signal);
    },
  };
};
