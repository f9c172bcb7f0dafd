import type { DiskUsers } from "./disk-users.ts";
import type { LiveDomains, MergeRequest } from "./domains/index.ts";
import type { Volumes } from "./volumes/index.ts";
import type { DiskRef, LiveMerge } from "./volumes/types.ts";

/** How far a disk is on its way to as few layers as its snapshots allow. */
export type MergeProgress =
  | { readonly kind: "done" }
  | { readonly kind: "working"; readonly progressPercent: number }
  | { readonly kind: "waiting"; readonly message: string }
  | { readonly kind: "failed"; readonly message: string; readonly retryAfterMs: number };

export interface MergeContext {
  readonly volumes: Pick<Volumes, "merges">;
  readonly live: Pick<LiveDomains, "merge">;
  readonly users: DiskUsers;
}

/** A disk has at most so many layers that go one after the other; each takes a step or two. */
const MAX_STEPS = 200;

const requestOf = (merge: LiveMerge, diskUid: string): MergeRequest =>
  merge.kind === "pull"
    ? { kind: "pull", diskUid, base: merge.basePath }
    : { kind: "commit", diskUid, top: merge.topPath, base: merge.basePath };

/** Takes the steps that can be taken now; what takes time goes on by itself, and is looked at again by the next call. */
export const mergeDisk = async (
  ref: DiskRef,
  { volumes, live, users }: MergeContext,
  options: { readonly signal: AbortSignal },
): Promise<MergeProgress> => {
  const vmUid = await users.runningGuestOf(ref, options);
  for (let step = 0; step < MAX_STEPS; step += 1) {
    const outcome = await volumes.merges.advance(ref, { isRunning: vmUid !== undefined }, options);
    switch (outcome.kind) {
      case "clean":
      case "gone":
        return { kind: "done" };
      case "live": {
        if (vmUid === undefined) return { kind: "waiting", message: "The guest has just been switched off." };
        const job = await live.merge(vmUid, requestOf(outcome.merge, ref.uid), options);
        if (job.kind === "running") return { kind: "working", progressPercent: job.progressPercent };
        break;
      }
      default:
        return outcome;
    }
  }
  return { kind: "working", progressPercent: 0 };
};

/** Several disks as one; the least that is known of any of them. */
export const mergeDisks = async (
  refs: readonly DiskRef[],
  context: MergeContext,
  options: { readonly signal: AbortSignal },
): Promise<MergeProgress> => {
  const all: MergeProgress[] = [];
  for (const ref of refs) all.push(await mergeDisk(ref, context, options));
  const open = all.filter((one) => one.kind !== "done");
  const stuck = open.find((one) => one.kind === "failed") ?? open.find((one) => one.kind === "waiting");
  if (stuck !== undefined) return stuck;
  if (open.length === 0) return { kind: "done" };
  const percents = all.map((one) => (one.kind === "working" ? one.progressPercent : 100));
  return {
    kind: "working",
    progressPercent: Math.floor(percents.reduce((sum, one) => sum + one, 0) / percents.length),
  };
};
