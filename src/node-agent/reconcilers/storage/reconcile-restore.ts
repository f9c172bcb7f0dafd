import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import type { VirtualMachineRestore } from "../../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../../api/virtual-machine-snapshot.ts";
import { done, type EventRecorder, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import { desiredDomain, type PlacedMachine, placed } from "../../desired.ts";
import type { DiskUsers } from "./disk-users.ts";
import { type Domains, GuestOffError, type LiveDomains } from "../../domains/index.ts";
import { isOn } from "../machine/guest-record.ts";
import type { LifecycleMetrics } from "../../lifecycle-metrics.ts";
import type { ObjectView } from "../../object-view.ts";
import { announceReady } from "../../ready-conditions.ts";
import { locateDisks } from "./reconcile-snapshot.ts";
import { refusalOf } from "./restore-refusal.ts";
import {
  isOver,
  type RestoreResult,
  type RestoreStatusApply,
  restoreStatus,
  stageOf,
} from "./restore-status.ts";
import { isStartFailure } from "../machine/start-failure.ts";
import { prepareGuest, type StepContext } from "../machine/steps.ts";
import { DiskBusyError, type Volumes } from "../../volumes/index.ts";
import type { DiskRef } from "../../volumes/types.ts";

const WAIT_MS = 5_000;
const RECORD_CHECK_MS = 200;

export type RestoreView = ObjectView<VirtualMachineRestore, RestoreStatusApply>;

export interface RestoreContext {
  readonly restoreObjects: RestoreView;
  readonly snapshotObjects: { get(uid: string): VirtualMachineSnapshot | undefined };
  readonly machines: { get(uid: string): VirtualMachine | undefined };
  readonly volumes: Pick<Volumes, "disks" | "restores" | "snapshots" | "merges">;
  readonly users: DiskUsers;
  readonly domains: Pick<Domains, "observe" | "start" | "restore" | "destroy">;
  readonly live: Pick<LiveDomains, "announceSizes" | "suspend" | "cancelMerge">;
  /** For the guest's disks, seed and network. */
  readonly steps: StepContext;
  /** Asks for a pass over the machine. */
  readonly lookAtMachine: (uid: string) => void;
  /** Asks for a pass over a disk, whose layers may be fewer now. */
  readonly lookAtDisk: (uid: string) => void;
  readonly events: EventRecorder;
  readonly metrics: LifecycleMetrics;
  readonly now: () => Date;
}

interface Options {
  readonly signal: AbortSignal;
}

/** What a pass came to, and when to look again. */
interface Pass {
  readonly result: RestoreResult;
  readonly next: ReconcileResult;
}

/** A restore with all that it needs. */
interface Work {
  readonly restore: VirtualMachineRestore;
  readonly snapshot: VirtualMachineSnapshot;
  readonly target: PlacedMachine;
  readonly vmUid: string;
  readonly refs: readonly DiskRef[];
}

/** One pass over a restore of a machine of this node: as far as it gets. */
export const reconcileRestore = async (
  uid: string,
  context: RestoreContext,
  options: Options,
): Promise<ReconcileResult> => {
  const restore = context.restoreObjects.get(uid);
  if (restore === undefined || isOver(restore)) return done;
  const work = await gather(restore, context, options);
  const pass = "result" in work ? work : await goOn(work, context, options);
  await say(restore, pass.result, context, options);
  conclude(pass.result, restore, work, context);
  return pass.next;
};

const say = async (
  restore: VirtualMachineRestore,
  result: RestoreResult,
  { restoreObjects, events, now }: RestoreContext,
  options: Options,
): Promise<void> => {
  const latest = restoreObjects.get(restore.metadata.uid) ?? restore;
  const apply = restoreStatus(latest, result, now());
  await restoreObjects.say(latest, apply, options);
  const type = result.kind === "failed" ? "Warning" : "Normal";
  announceReady(events, latest, apply.status.conditions, type);
};

/** The machine is its owner's again, and layers that nobody needs go. */
const conclude = (
  result: RestoreResult,
  { status }: VirtualMachineRestore,
  work: Work | Pass,
  { metrics, lookAtMachine, lookAtDisk }: RestoreContext,
): void => {
  if (result.kind !== "succeeded" && result.kind !== "failed") return;
  metrics.restoreFinished(result.kind);
  if (status?.machineUid !== undefined) lookAtMachine(status.machineUid);
  if ("refs" in work) for (const { uid } of work.refs) lookAtDisk(uid);
};

const waiting = (reason: string, message: string): Pass => ({
  result: { kind: "waiting", reason, message },
  next: requeueAfter(WAIT_MS),
});

const failed = (reason: string, message: string): Pass => ({
  result: { kind: "failed", reason, message },
  next: done,
});

const succeeded: Pass = { result: { kind: "succeeded" }, next: done };

const gather = async (
  restore: VirtualMachineRestore,
  { machines, snapshotObjects, volumes }: RestoreContext,
  options: Options,
): Promise<Work | Pass> => {
  const { machineUid: vmUid, snapshotUid } = restore.status ?? {};
  const machine = vmUid === undefined ? undefined : machines.get(vmUid);
  const target = machine && placed(machine);
  if (vmUid === undefined || target === undefined) {
    return waiting("MachineNotHere", "The machine is not on this node.");
  }
  const snapshot = snapshotUid === undefined ? undefined : snapshotObjects.get(snapshotUid);
  if (snapshot?.status?.disks === undefined) {
    return waiting("SnapshotNotHere", "The snapshot is not on this node.");
  }
  const refs = await locateDisks(snapshot.status.disks, vmUid, volumes, options);
  return { restore, snapshot, target, vmUid, refs };
};

/** A kill may have come between two disks, so that each step begins with what the one before it does. */
const goOn = async (work: Work, context: RestoreContext, options: Options): Promise<Pass> => {
  const { restore, refs } = work;
  const state = await context.volumes.restores.find(restore.metadata.uid, refs, options);
  switch (state) {
    case undefined:
      return begin(work, context, options);
    case "prepared":
      await prepare(work, context, options);
      return switchOver(work, context, options);
    case "switched":
      await context.volumes.restores.switch(restore.metadata.uid, refs, options);
      return resume(work, context, options);
    case "finishing":
      return finish(work, context, options);
    case "undoing":
      return undo(work, stageOf(restore)?.message ?? "The restore was given up.", context, options);
  }
};

const begin = async (work: Work, context: RestoreContext, options: Options): Promise<Pass> => {
  const { restore, snapshot, target } = work;
  const known = stageOf(restore);
  // The records of the disks have forgotten what is over.
  if (known?.stage === "Finishing") return succeeded;
  if (known?.stage === "Undoing") return failed("RestoreFailed", known.message);
  const refusal = refusalOf(restore, snapshot, target);
  if (refusal !== undefined) return failed(refusal.reason, refusal.message);
  const message = "The machine is being put back to the snapshot.";
  await say(restore, { kind: "working", stage: "Restoring", message }, context, options);
  await prepare(work, context, options);
  return switchOver(work, context, options);
};

/** The guest may go on meanwhile; a merge of its disks goes on afterwards. */
const prepare = async (
  { restore, snapshot, vmUid, refs }: Work,
  { volumes, live, users }: RestoreContext,
  options: Options,
): Promise<void> => {
  const want = { restoreUid: restore.metadata.uid, snapshotUid: snapshot.metadata.uid, disks: refs };
  try {
    await volumes.restores.prepare(want, options);
  } catch (error) {
    if (!(error instanceof DiskBusyError)) throw error;
    for (const ref of refs) {
      const running = await users.runningGuestOf(ref, options);
      if (running !== undefined) await live.cancelMerge(vmUid, ref.uid, options);
      await volumes.merges.abandon(ref, { isRunning: running !== undefined }, options);
    }
    await volumes.restores.prepare(want, options);
  }
};

const switchOver = async (work: Work, context: RestoreContext, options: Options): Promise<Pass> => {
  const { restore, vmUid, refs } = work;
  await context.domains.destroy(vmUid, options);
  await context.volumes.restores.switch(restore.metadata.uid, refs, options);
  return resume(work, context, options);
};

/** The guest goes on, or boots, on the disks of the snapshot. */
const resume = async (work: Work, context: RestoreContext, options: Options): Promise<Pass> => {
  const { restore, vmUid } = work;
  const { powerState } = restore.spec;
  if (powerState === "Halted") return finish(work, context, options);
  if (!isOn(await context.domains.observe(vmUid, options))) {
    const problem = await startGuest(work, context, options);
    if (problem !== undefined) return problem;
  }
  await announceSizes(work, context, options);
  if (powerState === "Running") return finish(work, context, options);
  await context.live.suspend(vmUid, options);
  // Otherwise the machine's next pass would not know that the guest is to stay paused.
  if (context.machines.get(vmUid)?.status?.guest?.pauseRequested === true) {
    return finish(work, context, options);
  }
  context.lookAtMachine(vmUid);
  const message = "The guest is paused, as the restore says.";
  return {
    result: { kind: "working", stage: "Restoring", message },
    next: requeueAfter(RECORD_CHECK_MS),
  };
};

/** Where the snapshot has the guest's memory, if it has it. */
const memoryOf = (
  { snapshot, refs }: Work,
  { volumes }: RestoreContext,
  options: Options,
): Promise<string | undefined> => volumes.snapshots.memoryPath(snapshot.metadata.uid, refs, options);

/** Disks that have grown since the snapshot was taken have grown again by now, which the guest's memory does not know. */
const announceSizes = async (work: Work, context: RestoreContext, options: Options): Promise<void> => {
  if ((await memoryOf(work, context, options)) === undefined) return;
  try {
    await context.live.announceSizes(work.vmUid, options);
  } catch (error) {
    // A guest that has ended by itself boots next, and looks for itself.
    if (!(error instanceof GuestOffError)) throw error;
  }
};

const startGuest = async (
  work: Work,
  context: RestoreContext,
  options: Options,
): Promise<Pass | undefined> => {
  const { restore, target } = work;
  try {
    const prepared = await prepareGuest(target, context.steps, options);
    if (prepared.kind !== "ready") {
      const message = prepared.kind === "no-disk" ? prepared.disk.message : prepared.message;
      return prepared.kind === "no-disk" && prepared.disk.kind === "refused"
        ? await undo(work, message, context, options)
        : { result: { kind: "working", stage: "Restoring", message }, next: requeueAfter(WAIT_MS) };
    }
    const want = desiredDomain(target, prepared.parts);
    const path = await memoryOf(work, context, options);
    const paused = restore.spec.powerState === "Paused";
    await context.steps.confirmStart(target.machine, options);
    await (path === undefined
      ? context.domains.start(want, options)
      : context.domains.restore(want, { path, paused }, options));
    return undefined;
  } catch (error) {
    if (options.signal.aborted || !isStartFailure(error)) throw error;
    return undo(work, `The guest could not be started on it: ${error.message}`, context, options);
  }
};

/** Said first: afterwards nothing on the node tells that there was a restore. */
const finish = async (work: Work, context: RestoreContext, options: Options): Promise<Pass> => {
  const { restore, refs } = work;
  const message = "The machine is as the snapshot shows it; what is no longer needed goes.";
  await say(restore, { kind: "working", stage: "Finishing", message }, context, options);
  await context.volumes.restores.finish(restore.metadata.uid, refs, options);
  return succeeded;
};

const undo = async (
  { restore, vmUid, refs }: Work,
  message: string,
  context: RestoreContext,
  options: Options,
): Promise<Pass> => {
  await say(restore, { kind: "working", stage: "Undoing", message }, context, options);
  await context.domains.destroy(vmUid, options);
  await context.volumes.restores.undo(restore.metadata.uid, refs, options);
  return failed("RestoreFailed", message);
};
