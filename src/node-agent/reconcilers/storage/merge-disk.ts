import type { DiskUsers } from "./disk-users.ts";
import { GuestOffError, type LiveDomains, type MergeRequest } from "../../domains/index.ts";
import type { Volumes } from "../../volumes/index.ts";
import type { DiskRef, LiveMerge } from "../../volumes/types.ts";

/** How far a disk is on its way to as few layers as its snapshots allow. */
export type MergeProgress =
  | { readonly kind: "done" }
  | { readonly kind: "working"; readonly progressPercent: number; readonly checkAfterMs: number }
  | { readonly kind: "waiting"; readonly message: string }
  | { readonly kind: "failed"; readonly message: string; readonly retryAfterMs: number };

/**
 * Which disk of each guest has a block job, by the UID of the machine, and when
 * that was last looked at: as far as this process knows.
 */
export type LiveJobs = Map<string, { readonly diskUid: string; readonly at: Date }>;

export interface MergeContext {
  readonly jobs: LiveJobs;
  /** While a machine moves, its disks stay as they are. */
  readonly migrating: (vmUid: string) => unknown;
  readonly now: () => Date;
  readonly volumes: Pick<Volumes, "merges">;
  readonly live: Pick<LiveDomains, "merge" | "resume">;
  /** Whether somebody has asked that the guest stands still. */
  readonly isToBePaused: (vmUid: string) => boolean;
  readonly users: DiskUsers;
}

const ALMOST_DONE = 99;

/** Most snapshots are young, and merged within this time, in ms. */
const SOON_MS = 250;
const LATER_MS = 1_000;

/** What goes on by itself. */
const working = (progressPercent: number): MergeProgress => ({
  kind: "working",
  progressPercent,
  checkAfterMs: progressPercent === 0 ? SOON_MS : LATER_MS,
});

/** A disk has at most so many layers that go one after the other; each takes a step or two. */
const MAX_STEPS = 200;

const requestOf = (merge: LiveMerge, diskUid: string): MergeRequest =>
  merge.kind === "pull"
    ? { kind: "pull", diskUid, base: merge.basePath }
    : { kind: "commit", diskUid, top: merge.topPath, base: merge.basePath };

const guestIsOff: MergeProgress = { kind: "waiting", message: "The guest has just been switched off." };

/** A guest may end at any moment; its disks are then merged without it. */
const whileOn = <T>(work: Promise<T>): Promise<T | undefined> =>
  work.catch((error: unknown) => {
    if (error instanceof GuestOffError) return undefined;
    throw error;
  });

/** Who has a job looks at it every second: nobody has looked for so long at one that has ended with its guest. */
const FORGOTTEN_AFTER_MS = 15_000;

/** Whether another disk of the guest has a job: QEMU 7.2 has been seen to crash when two of them met. */
const isBusy = (vmUid: string, { uid }: DiskRef, { jobs, now }: MergeContext): boolean => {
  const job = jobs.get(vmUid);
  return job !== undefined && job.diskUid !== uid && now().getTime() - job.at.getTime() < FORGOTTEN_AFTER_MS;
};

/** An agent that was killed while QEMU wrote out what it held has left the guest paused, and nobody else goes on with it. */
const whilePaused = async (
  vmUid: string,
  { byRequest }: { readonly byRequest: boolean },
  { live, isToBePaused }: MergeContext,
  options: { readonly signal: AbortSignal },
): Promise<MergeProgress> => {
  if (!byRequest || isToBePaused(vmUid))
    return { kind: "waiting", message: "The guest is paused; its layers are merged when it goes on." };
  const resumed = await whileOn(live.resume(vmUid, options).then(() => true));
  return resumed === undefined ? guestIsOff : working(ALMOST_DONE);
};

/** Takes the steps that can be taken now; what takes time goes on by itself, and is looked at again by the next call. */
export const mergeDisk = async (
  ref: DiskRef,
  context: MergeContext,
  options: { readonly signal: AbortSignal },
): Promise<MergeProgress> => {
  const { volumes, live, users, jobs, now } = context;
  const owner = users.machineOf(ref);
  if (owner !== undefined && context.migrating(owner) !== undefined) {
    return { kind: "waiting", message: "The machine moves to another node." };
  }
  const vmUid = await users.runningGuestOf(ref, options);
  for (let step = 0; step < MAX_STEPS; step += 1) {
    const outcome = await volumes.merges.advance(ref, { isRunning: vmUid !== undefined }, options);
    switch (outcome.kind) {
      case "clean":
      case "gone":
        return { kind: "done" };
      case "live": {
        if (vmUid === undefined) return guestIsOff;
        if (isBusy(vmUid, ref, context)) return working(0);
        jobs.set(vmUid, { diskUid: ref.uid, at: now() });
        const job = await whileOn(live.merge(vmUid, requestOf(outcome.merge, ref.uid), options));
        if (job === undefined) return guestIsOff;
        if (job.kind === "running") return working(job.progressPercent);
        jobs.delete(vmUid);
        if (job.kind === "paused") return whilePaused(vmUid, job, context, options);
        await volumes.merges.confirm(ref, options);
        break;
      }
      case "working":
        return working(outcome.progressPercent);
      default:
        return outcome;
    }
  }
  return working(0);
};

/** Several disks of one machine, one after the other. How far they are together. */
export const mergeDisks = async (
  refs: readonly DiskRef[],
  context: MergeContext,
  options: { readonly signal: AbortSignal },
): Promise<MergeProgress> => {
  for (const [index, ref] of refs.entries()) {
    const progress = await mergeDisk(ref, context, options);
    if (progress.kind === "working") {
      const percent = (100 * index + progress.progressPercent) / refs.length;
      return { ...progress, progressPercent: Math.floor(percent) };
    }
    if (progress.kind !== "done") return progress;
  }
  return { kind: "done" };
};
