import type { VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { type Clock, type Logger, sleep } from "../../../kube/index.ts";
import type { Migrations } from "../../migrations/index.ts";

const RETRY_MS = 1_000;

export interface StrandedOptions {
  /** UIDs of the machines of this node. */
  readonly machineUids: () => readonly string[];
  readonly migrations: () => readonly VirtualMachineMigration[];
  readonly room: Pick<Migrations, "observe" | "resume">;
  /** Keeps everybody else from the machine meanwhile. */
  readonly hold: (machineUid: string, work: () => Promise<void>) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Pick<Logger, "info" | "warn">;
}

/**
 * Lets guests go on that an earlier run of this agent has left standing still: a
 * migration had moved them, then failed, and was deleted, all while the agent
 * was not there to see it. The machine is this node's and no migration knows of
 * it, so it runs nowhere else. To be called once, when all is known; while
 * libvirt is away it tries again.
 */
export const resumeStrandedGuests = async (options: StrandedOptions, signal: AbortSignal): Promise<void> => {
  for (const uid of options.machineUids()) {
    let isSeen = false;
    while (!isSeen && !signal.aborted) {
      isSeen = await options
        .hold(uid, () => resumeIfStranded(uid, options, signal))
        .then(
          () => true,
          (err: unknown) => {
            options.logger.warn({ err, uid }, "cannot see whether a guest stands still; trying again");
            return false;
          },
        );
      if (!isSeen) await sleep(options.clock, RETRY_MS, signal).catch(() => {});
    }
  }
};

const resumeIfStranded = async (
  uid: string,
  { machineUids, migrations, room, logger }: StrandedOptions,
  signal: AbortSignal,
): Promise<void> => {
  const isMoving = migrations().some(({ status }) => status?.machineUid === uid);
  if (isMoving || !machineUids().includes(uid)) return;
  if ((await room.observe("source", uid, { signal })) !== "left") return;
  await room.resume(uid, { signal });
  logger.info(
    { uid },
    "let a guest go on that stood still since a migration of which nothing is known any more",
  );
};
