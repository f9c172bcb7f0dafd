import { sleep, systemClock } from "../kube/index.ts";
import type { AgentOptions } from "./agent.ts";

/** Ways to ask for a pass over machines. */
export interface Look {
  readonly lookAt: (uid: string) => void;
  readonly lookAtAll: () => void;
}

/**
 * Regularly looks at every machine, and at everything on the host that carries
 * our mark, whether its object is still there or not.
 */
export const sweepRegularly = async (
  options: AgentOptions,
  look: Look,
  signal: AbortSignal,
): Promise<void> => {
  try {
    await options.store.whenSynced(signal);
    for (;;) {
      await sweep(options, look, signal);
      await sleep(systemClock, options.sweepMs, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
};

const sweep = async (options: AgentOptions, look: Look, signal: AbortSignal) => {
  const { store, machines, rooms, network, logger } = options;
  const { domains, disks, cloudInit, links } = rooms;
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (err) {
      if (!signal.aborted) logger.warn({ err }, `cannot ${what}; the next sweep tries again`);
    }
  };
  look.lookAtAll();
  await attempt("verify routes and rules", () => network.verify());
  await attempt("list the domains", async () => {
    for (const { vmUid } of await domains.list({ signal })) look.lookAt(vmUid);
  });
  for (const room of [disks, cloudInit, links]) {
    await attempt("list what is on the host", async () => {
      for (const uid of await room.list({ signal })) look.lookAt(uid);
    });
  }
  // The image of a machine that cannot be read is not known.
  if (store.unreadable().length > 0) return;
  const inUse = machines.list().flatMap(({ status }) => status?.allocation?.image?.uid ?? []);
  await attempt("evict unused images", () => disks.evict(new Set(inUse), { signal }));
};
