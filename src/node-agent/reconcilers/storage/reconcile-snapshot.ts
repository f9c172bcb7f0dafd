import { findCondition, isTrue, timestampOf } from "../../../api/condition.ts";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import type { VirtualMachineSnapshot } from "../../../api/virtual-machine-snapshot.ts";
import { done, type EventRecorder, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import { type PlacedMachine, placed, rootDiskOf, volumeDiskOf } from "../../desired.ts";
import type { DiskUsers } from "./disk-users.ts";
import { FreezeRefusedError, type Freezer, type Frozen, NotQuiescedError } from "./freeze.ts";
import type { VolumeLookup } from "../machine/guest-volumes.ts";
import type { LifecycleMetrics } from "../../lifecycle-metrics.ts";
import { type MergeContext, mergeDisks, type MergeProgress } from "./merge-disk.ts";
import type { ObjectView } from "../../object-view.ts";
import { announceReady } from "../../ready-conditions.ts";
import {
  type IntendedDisks,
  type SnapshotResult,
  type SnapshotStatusApply,
  snapshotStatus,
} from "./snapshot-status.ts";
import type { Volumes } from "../../volumes/index.ts";
import type { DiskRef, SnapshotState } from "../../volumes/types.ts";

const WAIT_MS = 5_000;
const MiB = 2 ** 20;

/** Name of the root disk in snapshots. */
export const ROOT_DISK = "root";

export type SnapshotView = ObjectView<VirtualMachineSnapshot, SnapshotStatusApply>;

export interface SnapshotContext extends MergeContext {
  readonly snapshotObjects: SnapshotView;
  readonly machines: { get(uid: string): VirtualMachine | undefined };
  readonly volumeObjects: VolumeLookup;
  readonly volumes: Pick<Volumes, "disks" | "snapshots" | "merges">;
  readonly users: DiskUsers;
  readonly freezer: Freezer;
  /** Whether a restore works on the machine. */
  readonly isBeingRestored: (vmUid: string) => boolean;
  readonly events: EventRecorder;
  readonly metrics: LifecycleMetrics;
  readonly now: () => Date;
}

interface Options {
  readonly signal: AbortSignal;
}

/** What a pass came to, and when to look again. */
interface Pass {
  readonly result: SnapshotResult;
  readonly next: ReconcileResult;
}

/** One pass over a snapshot of a machine of this node: it is taken, or done away with. */
export const reconcileSnapshot = async (
  uid: string,
  context: SnapshotContext,
  options: Options,
): Promise<ReconcileResult> => {
  const snapshot = context.snapshotObjects.get(uid);
  if (snapshot === undefined || isTrue(snapshot.status?.conditions, "Released")) return done;
  const pass = await passOver(snapshot, context, options);
  if (pass === undefined) return done;
  await say(snapshot, pass.result, context, options);
  return pass.next;
};

const passOver = async (
  snapshot: VirtualMachineSnapshot,
  context: SnapshotContext,
  options: Options,
): Promise<Pass | undefined> => {
  const { metadata, status } = snapshot;
  if (metadata.deletionTimestamp !== undefined) {
    // Before the controller has said so, a restore or a copy may be about to need it.
    const isGivenUp = findCondition(status?.conditions, "InUse")?.status === "False";
    return isGivenUp ? release(snapshot, context, options) : undefined;
  }
  const isTaken = status?.takenAt !== undefined || status?.phase === "Failed";
  return isTaken ? undefined : take(snapshot, context, options);
};

const say = async (
  snapshot: VirtualMachineSnapshot,
  result: SnapshotResult,
  { snapshotObjects, events, now }: SnapshotContext,
  options: Options,
): Promise<void> => {
  const latest = snapshotObjects.get(snapshot.metadata.uid) ?? snapshot;
  const apply = snapshotStatus(latest, result, now());
  await snapshotObjects.say(latest, apply, options);
  const type = result.kind === "failed" ? "Warning" : "Normal";
  announceReady(events, latest, apply.status.conditions, type);
};

const waiting = (reason: string, message: string): Pass => ({
  result: { kind: "waiting", reason, message },
  next: requeueAfter(WAIT_MS),
});

const failed = (reason: string, message: string): Pass => ({
  result: { kind: "failed", reason, message },
  next: done,
});

/** The machine's disks at this moment: what its guest has, or is started with. */
const disksOf = async (
  target: PlacedMachine,
  { volumes, volumeObjects }: SnapshotContext,
  options: Options,
): Promise<IntendedDisks | undefined> => {
  const root = await volumes.disks.find(rootDiskOf(target), options);
  if (root === undefined) return undefined;
  const disks: IntendedDisks[number][] = [
    { name: ROOT_DISK, sizeMiB: Math.floor(root.virtualSizeBytes / MiB) },
  ];
  const attached = target.machine.status?.guest?.volumes ?? target.allocation.volumes ?? [];
  for (const { name, uid } of attached) {
    const volume = volumeObjects.get(uid);
    const chain = volume && (await volumes.disks.find(volumeDiskOf(volume), options));
    if (chain === undefined) return undefined;
    disks.push({ name, volumeUid: uid, sizeMiB: Math.floor(chain.virtualSizeBytes / MiB) });
  }
  return disks;
};

/** Where the disks of a snapshot are; those that have gone are left out. */
export const locateDisks = async (
  disks: IntendedDisks,
  vmUid: string,
  volumes: Pick<Volumes, "disks">,
  options: Options,
): Promise<readonly DiskRef[]> => {
  const found = await Promise.all(
    disks.map(({ volumeUid }) =>
      volumeUid === undefined
        ? volumes.disks.locate("root", vmUid, options)
        : volumes.disks.locate("volume", volumeUid, options),
    ),
  );
  return found.flatMap((ref) => ref ?? []);
};

/** Which disks is written down first: a fresh agent has to finish with the same ones. */
const take = async (
  snapshot: VirtualMachineSnapshot,
  context: SnapshotContext,
  options: Options,
): Promise<Pass> => {
  const vmUid = snapshot.status?.machineUid;
  const machine = vmUid === undefined ? undefined : context.machines.get(vmUid);
  const target = machine && placed(machine);
  if (vmUid === undefined || target === undefined) {
    return waiting("MachineNotHere", "The machine is not on this node.");
  }
  if (context.isBeingRestored(vmUid)) {
    return waiting("MachineRestoring", "The machine is being put back to a snapshot.");
  }
  const intended = snapshot.status?.phase === "InProgress" ? snapshot.status.disks : undefined;
  const disks = intended ?? (await disksOf(target, context, options));
  if (disks === undefined) return waiting("NoDisks", "The machine's disks are not all on the node yet.");
  if (intended === undefined) await say(snapshot, { kind: "taking", disks }, context, options);
  return freeze(snapshot, { vmUid, disks }, context, options);
};

const freeze = async (
  { metadata, spec }: VirtualMachineSnapshot,
  { vmUid, disks }: { readonly vmUid: string; readonly disks: IntendedDisks },
  context: SnapshotContext,
  options: Options,
): Promise<Pass> => {
  const refs = await locateDisks(disks, vmUid, context.volumes, options);
  try {
    const frozen = await context.freezer.freeze(
      {
        snapshotUid: metadata.uid,
        disks: refs,
        withMemory: spec.includeMemory,
        quiesce: spec.quiesce,
      },
      options,
    );
    context.metrics.snapshotTaken("taken");
    const taken = await takenResult(metadata.uid, { vmUid, disks, refs, frozen }, context, options);
    return { result: taken, next: done };
  } catch (error) {
    if (error instanceof NotQuiescedError) {
      context.metrics.snapshotTaken("failed");
      return failed(
        "QuiesceFailed",
        `The guest's file systems could not be frozen: ${error.message} Install the QEMU guest agent, or ask for quiesce: IfPossible.`,
      );
    }
    if (!(error instanceof FreezeRefusedError)) throw error;
    context.metrics.snapshotTaken("failed");
    return failed("SnapshotFailed", `libvirt did not take the snapshot: ${error.message}`);
  }
};

const takenResult = async (
  snapshotUid: string,
  known: {
    readonly vmUid: string;
    readonly disks: IntendedDisks;
    readonly refs: readonly DiskRef[];
    readonly frozen: Frozen;
  },
  { volumes, now }: SnapshotContext,
  options: Options,
): Promise<SnapshotResult> => {
  const { vmUid, disks, refs, frozen } = known;
  const memory = (await volumes.snapshots.memoryPath(snapshotUid, refs, options)) !== undefined;
  const found = await volumes.disks.list(options);
  const stored = (uid: string) =>
    found.find(({ ref }) => ref.uid === uid)?.snapshots.find((one) => one.uid === snapshotUid);
  const memoryBytes = refs.reduce((sum, { uid }) => sum + (stored(uid)?.memoryBytes ?? 0), 0);
  return {
    kind: "taken",
    taken: {
      takenAt: timestampOf(now()),
      consistency: frozen.consistency ?? "Online",
      quiesceFailure: frozen.quiesceFailure,
      memory,
      ...(memory ? { memoryBytes } : {}),
      disks: disks.map((disk) => {
        const usedBytes = stored(disk.volumeUid ?? vmUid)?.usedBytes;
        return Object.assign({}, disk, usedBytes === undefined ? {} : { usedBytes });
      }),
    },
  };
};

/** What only this snapshot needed goes; the merge of a running guest's disk takes its time. */
const release = async (
  snapshot: VirtualMachineSnapshot,
  context: SnapshotContext,
  options: Options,
): Promise<Pass> => {
  const { uid } = snapshot.metadata;
  const { disks = [], machineUid } = snapshot.status ?? {};
  if (machineUid === undefined || disks.length === 0) return { result: { kind: "released" }, next: done };
  const refs = await locateDisks(disks, machineUid, context.volumes, options);
  if (refs.length === 0) return { result: { kind: "released" }, next: done };
  const state = await context.volumes.snapshots.find(uid, refs, options);
  if (state !== "none") await discard(uid, { refs, state }, context, options);
  return afterMerge(await mergeDisks(refs, context, options), context);
};

/** One that was being taken is finished first: whether the guest writes the new layers already is found out on the way. */
const discard = async (
  snapshotUid: string,
  { refs, state }: { readonly refs: readonly DiskRef[]; readonly state: SnapshotState },
  { freezer, volumes }: SnapshotContext,
  options: Options,
): Promise<void> => {
  if (state !== "committed") {
    await freezer.freeze({ snapshotUid, disks: refs, withMemory: false, quiesce: "Never" }, options);
  }
  await volumes.snapshots.discard(snapshotUid, refs, options);
};

const afterMerge = (progress: MergeProgress, { metrics }: SnapshotContext): Pass => {
  switch (progress.kind) {
    case "done":
      metrics.mergeFinished("done");
      return { result: { kind: "released" }, next: done };
    case "working": {
      const { progressPercent, checkAfterMs } = progress;
      return { result: { kind: "deleting", progressPercent }, next: requeueAfter(checkAfterMs) };
    }
    case "waiting":
      return { result: { kind: "deleting", message: progress.message }, next: requeueAfter(WAIT_MS) };
    case "failed": {
      const { message, retryAfterMs } = progress;
      metrics.mergeFinished("failed");
      return { result: { kind: "deleting", message }, next: requeueAfter(retryAfterMs) };
    }
  }
};
