import { sleep, systemClock } from "../../../kube/index.ts";
import type { AgentOptions } from "../../agent.ts";
import { whenOwnSynced } from "../../own-objects.ts";

/**
 * Guests that libvirt has here and whose machines are not this node's. While the
 * node was away its machines may have been started elsewhere: such a guest must
 * end before anything else is done here (remove-orphan.ts judges).
 */

export type StrangerOptions = Pick<AgentOptions, "stores" | "objects" | "rooms" | "logger">;

export interface StrangerPasses {
  readonly pass: (uid: string, signal: AbortSignal) => Promise<unknown>;
  readonly lookAtMachine: (uid: string) => void;
}

const RETRY_MS = 1_000;

const strangersHere = async (
  { rooms, objects }: Pick<StrangerOptions, "rooms" | "objects">,
  signal: AbortSignal,
): Promise<readonly string[]> =>
  (await rooms.domains.list({ signal }))
    .map(({ vmUid }) => vmUid)
    .filter((uid) => objects.machines.get(uid) === undefined);

/**
 * To be awaited before any guest is started: passes over the strangers come
 * first. One that cannot be judged now, such as while the API server does not
 * answer, is left to the queue. Waits for libvirt, without which no guest could
 * be started anyway.
 */
export const endStrangersFirst = async (
  options: StrangerOptions,
  { pass, lookAtMachine }: StrangerPasses,
  signal: AbortSignal,
): Promise<void> => {
  const uids = await untilKnown(options, signal);
  await Promise.all(
    uids.map(async (uid) => {
      try {
        await pass(uid, signal);
      } catch (err) {
        if (signal.aborted) throw err;
        options.logger.warn({ uid, err }, "cannot tell yet whose guest this is; trying again");
      }
      lookAtMachine(uid);
    }),
  );
};

const untilKnown = async (options: StrangerOptions, signal: AbortSignal): Promise<readonly string[]> => {
  await whenOwnSynced(options.stores, signal);
  for (;;) {
    try {
      return await strangersHere(options, signal);
    } catch (err) {
      if (signal.aborted) throw err;
      options.logger.warn({ err }, "cannot list the guests; none is started before that");
    }
    await sleep(systemClock, RETRY_MS, signal);
  }
};

/** After each connection to libvirt, which may have been away, with the guests, while their machines went elsewhere. */
export const lookAtStrangers = async (
  options: StrangerOptions,
  lookAtMachine: (uid: string) => void,
  signal: AbortSignal,
): Promise<void> => {
  try {
    await whenOwnSynced(options.stores, signal);
    for (const uid of await strangersHere(options, signal)) lookAtMachine(uid);
  } catch (err) {
    if (!signal.aborted) options.logger.warn({ err }, "cannot list the guests; the next sweep tries again");
  }
};
