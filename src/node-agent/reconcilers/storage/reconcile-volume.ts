import { findCondition, isTrue } from "../../../api/condition.ts";
import type { Volume } from "../../../api/volume.ts";
import { done, type EventRecorder, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import { chainSizeMiB, volumeDiskOf, volumeSizeMiB } from "../../desired.ts";
import type { LifecycleMetrics } from "../../lifecycle-metrics.ts";
import type { ObjectView } from "../../object-view.ts";
import { announceReady } from "../../ready-conditions.ts";
import {
  copiedFrom,
  ensureDisk,
  growWhileOff,
  type StorageContext,
  type StoredDisk,
  wantedVolumeDisk,
} from "./storage.ts";
import type { DiskChain } from "../../volumes/types.ts";
import { type VolumeResult, type VolumeStatusApply, volumeStatus } from "./volume-status.ts";

/** A copy and a wipe tell how they get on; this is for what got lost on the way. */
const PROGRESS_CHECK_MS = 5_000;
export type VolumeView = ObjectView<Volume, VolumeStatusApply>;

export interface VolumeContext extends StorageContext {
  readonly volumeObjects: VolumeView;
  readonly events: EventRecorder;
  readonly metrics: LifecycleMetrics;
  /** While a machine moves, its disks stay as they are. */
  readonly migrating: (vmUid: string) => unknown;
  /** Asks for a pass over the machine. */
  readonly lookAtMachine: (uid: string) => void;
  /** Asks for a pass over a disk, whose layers may be fewer now. */
  readonly lookAtDisk: (uid: string) => void;
  /** The node keeps other data of deleted Volumes than before, which its report tells. */
  readonly tellReport: () => void;
  readonly now: () => Date;
}

interface Options {
  readonly signal: AbortSignal;
}

/** What a pass came to, and when to look again. */
interface Pass {
  readonly result: VolumeResult;
  readonly next: ReconcileResult;
}

/** One pass over a Volume of this node: its data are made, grown, or done away with. */
export const reconcileVolume = async (
  uid: string,
  context: VolumeContext,
  options: Options,
): Promise<ReconcileResult> => {
  const volume = context.volumeObjects.get(uid);
  if (volume === undefined || isTrue(volume.status?.conditions, "Released")) return done;
  const isLeaving = volume.metadata.deletionTimestamp !== undefined && isGivenUp(volume);
  const pass = isLeaving ? await release(volume, context, options) : await provide(volume, context, options);
  await say(volume, pass.result, context, options);
  const isMade = volume.status?.sizeMiB === undefined && pass.result.kind === "ready";
  if (isMade) for (const source of copiedFrom(wantedVolumeDisk(volume))) context.lookAtDisk(source);
  return pass.next;
};

/** Nobody will get a deleted Volume any more: only the controller sees all who might. */
const isGivenUp = ({ status }: Volume): boolean =>
  findCondition(status?.conditions, "InUse")?.status === "False";

const say = async (
  volume: Volume,
  result: VolumeResult,
  { volumeObjects, events, now }: VolumeContext,
  options: Options,
): Promise<void> => {
  const latest = volumeObjects.get(volume.metadata.uid) ?? volume;
  const apply = volumeStatus(latest, volume.metadata.generation ?? 0, result, now());
  await volumeObjects.say(latest, apply, options);
  const type = result.kind === "failed" ? "Warning" : "Normal";
  announceReady(events, latest, apply.status.conditions, type);
};

const missing = (disk: Exclude<StoredDisk, { kind: "ready" }>, volume: Volume): Pass => {
  const { reason, message } = disk;
  const { sizeMiB } = volume.status ?? {};
  switch (disk.kind) {
    case "waiting": {
      const { progressPercent } = disk;
      const result = { kind: "provisioning", reason, message, progressPercent } as const;
      return { result, next: requeueAfter(PROGRESS_CHECK_MS) };
    }
    case "failed":
      return {
        result: { kind: "failed", reason, message, lasting: false, sizeMiB },
        next: requeueAfter(disk.retryAfterMs),
      };
    case "refused":
      return { result: { kind: "failed", reason, message, lasting: true, sizeMiB }, next: done };
  }
};

/** The data of a deleted Volume become this one's, unless they have already. */
const adoptRetained = async (
  volume: Volume,
  { volumes, tellReport }: VolumeContext,
  options: Options,
): Promise<Pass | undefined> => {
  const retainedUid = volume.status?.allocation?.retainedUid;
  const ref = volumeDiskOf(volume);
  if (retainedUid === undefined || (await volumes.disks.find(ref, options)) !== undefined) return undefined;
  const { namespace = "" } = volume.metadata;
  const outcome = await volumes.disks.adopt({ ref, retainedUid, namespace }, options);
  if (outcome.kind === "adopted") {
    tellReport();
    return undefined;
  }
  const { message } = outcome;
  return { result: { kind: "failed", reason: "RetainedNotFound", message, lasting: true }, next: done };
};

const provide = async (volume: Volume, context: VolumeContext, options: Options): Promise<Pass> => {
  const refused = await adoptRetained(volume, context, options);
  if (refused !== undefined) return refused;
  const want = wantedVolumeDisk(volume);
  // What is there is only looked at: to make sure of it would break a merge of its layers off.
  const found = await context.volumes.disks.find(want.ref, options);
  const disk: StoredDisk =
    found === undefined ? await ensureDisk(want, context, options) : { kind: "ready", chain: found };
  return disk.kind === "ready" ? afterMaking(volume, disk.chain, context, options) : missing(disk, volume);
};

/** The disk is there; is it as large as asked for? */
const afterMaking = async (
  volume: Volume,
  chain: DiskChain,
  context: VolumeContext,
  options: Options,
): Promise<Pass> => {
  const sizeMiB = chainSizeMiB(chain);
  if (sizeMiB >= volumeSizeMiB(volume)) return { result: { kind: "ready", sizeMiB }, next: done };
  const want = wantedVolumeDisk(volume);
  const owner = context.users.machineOf(want.ref);
  if (owner !== undefined && context.migrating(owner) !== undefined) {
    return { result: { kind: "growing", sizeMiB }, next: requeueAfter(PROGRESS_CHECK_MS) };
  }
  const vmUid = await context.users.runningGuestOf(want.ref, options);
  if (vmUid !== undefined) {
    context.lookAtMachine(vmUid);
    return { result: { kind: "growing", sizeMiB }, next: requeueAfter(PROGRESS_CHECK_MS) };
  }
  const grown = await growWhileOff(want, chain, context, options);
  if (grown.kind !== "ready") return missing(grown, volume);
  return { result: { kind: "ready", sizeMiB: chainSizeMiB(grown.chain) }, next: done };
};

const release = async (volume: Volume, context: VolumeContext, options: Options): Promise<Pass> => {
  const ref = volumeDiskOf(volume);
  const vmUid = context.users.machineOf(ref);
  const isHeld = (await context.users.runningGuestOf(ref, options)) !== undefined;
  if (isHeld) {
    const message = `The guest of machine ${vmUid} still has the disk.`;
    const result = { kind: "in-use", message, sizeMiB: volume.status?.sizeMiB } as const;
    return { result, next: requeueAfter(PROGRESS_CHECK_MS) };
  }
  return volume.spec.deletionPolicy === "Retain"
    ? retain(volume, context, options)
    : remove(volume, context, options);
};

const released = (message: string): Pass => ({ result: { kind: "released", message }, next: done });

const retain = async (volume: Volume, context: VolumeContext, options: Options): Promise<Pass> => {
  const { name, namespace = "", uid } = volume.metadata;
  const ref = volumeDiskOf(volume);
  const found = (await context.volumes.disks.list(options)).find((disk) => disk.ref.uid === uid);
  // Of a copy that was never finished there is nothing to keep.
  if (found?.state !== "ready" && found?.retained === undefined) return remove(volume, context, options);
  if (found.retained === undefined) {
    await context.volumes.disks.retain(ref, { namespace, name }, options);
    context.tellReport();
  }
  return released(`The data stay on the node; a new Volume takes them over by source.retained ${uid}.`);
};

const remove = async (
  volume: Volume,
  { volumes, metrics }: VolumeContext,
  options: Options,
): Promise<Pass> => {
  const outcome = await volumes.disks.remove(volumeDiskOf(volume), options);
  switch (outcome.kind) {
    case "gone":
      metrics.volumeRemoved();
      return released("The data are removed.");
    case "kept":
      metrics.volumeRemoved();
      return released("The data are removed, except for what snapshots need.");
    case "working":
      return {
        result: { kind: "removing", progressPercent: outcome.progressPercent },
        next: requeueAfter(PROGRESS_CHECK_MS),
      };
    case "failed": {
      const { reason, message, retryAfterMs } = outcome;
      return {
        result: { kind: "failed", reason, message, lasting: false },
        next: requeueAfter(retryAfterMs),
      };
    }
  }
};
