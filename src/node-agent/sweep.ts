import { sleep, systemClock } from "../kube/index.ts";
import type { AgentOptions } from "./agent.ts";

/** Ways to ask for a pass over machines. */
export interface Look {
  readonly lookAt: (uid: string) => void;
  readonly lookAtAll: () => void;
}

/** Every machine, and everything on the host that carries our mark, whether its object is still there or not. */
export const sweepRegularly = async (
  options: AgentOptions,
  look: Look,
  signal: AbortSignal,
): Promise<void> => {
  const { store, machines, rooms, logger, sweepMs } = options;
  const complain = (what: string) => (err: unknown) => {
    if (!signal.aborted) logger.warn({ err }, `${what}; the next sweep tries again`);
  };
  const lookAtFound = async (listed: Promise<readonly string[]>): Promise<void> => {
    for (const uid of await listed) look.lookAt(uid);
  };
  try {
    await store.whenSynced(signal);
    for (;;) {
      look.lookAtAll();
      const { domains, disks, cloudInit, links } = rooms;
      await Promise.all([
        lookAtFound(domains.list({ signal }).then((found) => found.map(({ vmUid }) => vmUid))).catch(
          complain("cannot list the domains"),
        ),
        lookAtFound(disks.list({ signal })).catch(complain("cannot list the disks")),
        lookAtFound(cloudInit.list({ signal })).catch(complain("cannot list the seeds")),
        lookAtFound(links.list({ signal })).catch(complain("cannot list the links")),
        disks
          .evict(new Set(machines.list().flatMap(({ status }) => status?.allocation?.image.uid ?? [])), {
            signal,
          })
          .catch(complain("cannot evict unused images")),
      ]);
      await sleep(systemClock, sweepMs, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
};
