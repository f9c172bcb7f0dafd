import { sleep, systemClock } from "../kube/index.ts";
import type { AgentOptions } from "./agent.ts";
import { hasUnreadable } from "./agent-context.ts";
import { whenOwnSynced } from "./own-objects.ts";
import { suspectsOf } from "./reconcilers/storage/reconcile-disk.ts";

/** Ways to ask for a pass. */
export interface Look {
  readonly lookAtMachine: (uid: string) => void;
  readonly lookAtAll: () => void;
  readonly lookAtDisk: (uid: string) => void;
}

type SweepOptions = Pick<AgentOptions, "stores" | "objects" | "rooms" | "network" | "logger" | "sweepMs">;

/** Whose disks may have been left in the middle of something. */
const kinds = ["machines", "volumes"] as const;

/**
 * Regularly looks at every machine, and at everything on the host that carries
 * our mark, whether its object is still there or not.
 */
export const sweepRegularly = async (
  options: SweepOptions,
  look: Look,
  signal: AbortSignal,
): Promise<void> => {
  try {
    await whenOwnSynced(options.stores, signal);
    // A predecessor may have been killed anywhere: once, all disks are looked at.
    let isFirst = true;
    for (;;) {
      await sweep(options, look, isFirst, signal);
      isFirst = false;
      await sleep(systemClock, options.sweepMs, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
};

const sweep = async (
  options: SweepOptions,
  look: Look,
  isFirst: boolean,
  signal: AbortSignal,
): Promise<void> => {
  const { rooms, network, logger } = options;
  const { domains, cloudInit, links } = rooms;
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
    for (const { vmUid } of await domains.list({ signal })) look.lookAtMachine(vmUid);
  });
  for (const room of [cloudInit, links]) {
    await attempt("list what is on the host", async () => {
      for (const uid of await room.list({ signal })) look.lookAtMachine(uid);
    });
  }
  await attempt("list the disks", async () => {
    const found = await rooms.volumes.disks.list({ signal });
    const own = isFirst ? found.filter(({ ref }) => isOurs(ref.uid, options)) : [];
    for (const { ref } of [...own, ...(await suspectsOf(found, options.objects, { signal }))]) {
      look.lookAtDisk(ref.uid);
      // Of a machine that exists nowhere, more than the disk may be left.
      if (ref.kind === "root") look.lookAtMachine(ref.uid);
    }
  });
  // The images of objects that cannot be read are not known.
  if (hasUnreadable(options)) return;
  await attempt("give up exports of images that are gone", () => giveUpExports(options, signal));
  await attempt("evict unused images", () => rooms.images.evict(imagesInUse(options), { signal }));
};

const isOurs = (uid: string, { objects }: SweepOptions): boolean =>
  kinds.some((kind) => objects[kind].get(uid) !== undefined);

/** Of machines and Volumes of this node; and those that it has made, which others fetch from here. */
const imagesInUse = ({ objects }: SweepOptions): ReadonlySet<string> => {
  const machines = objects.machines.list().map(({ status }) => status?.allocation);
  const volumes = objects.volumes.list().map(({ status }) => status?.allocation);
  const used = [
    ...[...machines, ...volumes].map((allocation) => allocation?.image?.uid),
    ...machines.flatMap((allocation) => allocation?.cdroms?.map(({ uid }) => uid) ?? []),
    ...objects.images.list().map(({ metadata }) => metadata.uid),
  ];
  return new Set(used.filter((uid) => uid !== undefined));
};

const giveUpExports = async ({ rooms, objects }: SweepOptions, signal: AbortSignal): Promise<void> => {
  for (const uid of await rooms.volumes.exports.list({ signal })) {
    if (objects.images.get(uid) === undefined) await rooms.volumes.exports.remove(uid, { signal });
  }
};
