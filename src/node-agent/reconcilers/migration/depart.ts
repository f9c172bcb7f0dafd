import { MIGRATION_FINALIZER, type VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { done, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import { placed } from "../../desired.ts";
import {
  type MigrationContext,
  type MigrationOptions,
  movingDisks,
  refOf,
  requireMachine,
  isTerminating,
} from "./migration-context.ts";
import type { MigrationNews } from "./migration-status.ts";
import type { DepartureProgress } from "../../migrations/index.ts";

/** What the source does of its own accord. */

const SOON_MS = 500;
const NOT_MOVED_YET_MS = 1_000;
/** The phase and what is said of a copy are not written more often than this. */
const PROGRESS_MS = 2_000;
/** The longest message that a condition may have. */
const MAX_MESSAGE = 4096;

/** Writes how far it is; whoever changes the phase at the same moment goes first. */
const progressWriter = (uid: string, { migrations, now }: MigrationContext, { signal }: MigrationOptions) => {
  // A short copy is over by then: what is written while it ends only holds its end up.
  let lastAt = now().getTime();
  return (progress: DepartureProgress): void => {
    const migration = migrations.get(uid);
    if (now().getTime() - lastAt < PROGRESS_MS || migration?.status?.phase !== "Copying") return;
    lastAt = now().getTime();
    const { iteration, ...rest } = progress;
    const said = iteration === undefined ? rest : { ...rest, iteration };
    migrations
      .swap(
        migration,
        { progress: said, said: { reason: "Copying", message: "The guest runs on while it is copied." } },
        { signal },
      )
      .catch(() => {});
  };
};

/** Preparing becomes Copying, and the guest is moved in the background. */
export const begin = async (
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<ReconcileResult> => {
  const { spec, metadata, status } = migration;
  const { uid } = metadata;
  const target = await requireMachine(migration, context, options);
  const vmUid = target.machine.metadata.uid;
  const domain = await context.steps.domains.observe(vmUid, options);
  const disks = await movingDisks(target, context, options);
  const copied = new Set(disks.filter(({ isShared }) => !isShared).map((disk) => disk.uid));
  await context.migrations.swap(
    migration,
    { phase: "Copying", said: { reason: "Copying", message: "The guest runs on while it is copied." } },
    options,
  );
  const background = { signal: new AbortController().signal };
  context.room.depart({
    migrationUid: uid,
    vmUid,
    copiedDisks: (domain?.hardware?.disks ?? [])
      .filter((disk) => disk.kind === "disk" && copied.has(disk.uid))
      .map((disk) => disk.target),
    hasSharedDisks: disks.some(({ isShared }) => isShared),
    bandwidthMiBps: spec.bandwidthMiBps,
    maxDowntimeMilliseconds: spec.maxDowntimeMilliseconds,
    autoConverge: spec.autoConverge,
    target: context.peers.target(status?.targetNode ?? "", uid),
    onProgress: progressWriter(uid, context, background),
    onEnd: () => context.lookAt(uid),
  });
  return requeueAfter(spec.timeoutSeconds * 1000);
};

/** Why the guest is not moved on. */
const endOf = (migration: VirtualMachineMigration, { room, machines }: MigrationContext): MigrationNews => {
  if (migration.metadata.deletionTimestamp !== undefined)
    return {
      phase: "Cancelled",
      said: { reason: "Cancelled", message: "The migration was deleted; the machine stays." },
    };
  if (isTerminating(machines.get(migration.status?.machineUid ?? "")))
    return {
      phase: "Cancelled",
      said: { reason: "MachineTerminating", message: "The machine is being deleted." },
    };
  const session = room.outgoing(migration.metadata.uid);
  const failure = session === undefined ? "the node's agent was started again" : session.failure();
  if (failure === undefined)
    return {
      phase: "Failed",
      said: {
        reason: "TimedOut",
        message: "The machine stays: the migration took longer than spec.timeoutSeconds.",
      },
    };
  const message = `The machine stays: ${failure}.`.slice(0, MAX_MESSAGE);
  return { phase: "Failed", said: { reason: "MigrationFailed", message } };
};

/** Whoever wants the guest to stay says so first: from then on the target cannot let it go on. */
export const giveUp = async (
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<ReconcileResult> => {
  await context.migrations.swap(migration, endOf(migration, context), options);
  return requeueAfter(0);
};

/** Ends the session, whatever libvirt says to that: the next pass looks at the guest. */
export const endSession = async (
  migration: VirtualMachineMigration,
  how: "confirm" | "cancel",
  { room }: MigrationContext,
  options: MigrationOptions,
): Promise<ReconcileResult> => {
  const { uid } = migration.metadata;
  await room.outgoing(uid)?.[how](options);
  await room.forget(uid);
  return requeueAfter(0);
};

/**
 * Nothing of the machine stays here. The API server is asked where it belongs,
 * and the watch must have brought as much, before anything is removed and before
 * the machine counts as an ordinary one again.
 */
export const cleanUp = async (
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<ReconcileResult> => {
  const vmUid = migration.status?.machineUid ?? "";
  const machine = await context.readMachine(migration, options);
  if (machine?.status?.nodeName === context.nodeName) {
    // The controller has not written yet where it is, or it came back by another way.
    const isMoved = !(migration.metadata.finalizers ?? []).includes(MIGRATION_FINALIZER);
    return isMoved ? release(migration, context, options) : requeueAfter(NOT_MOVED_YET_MS);
  }
  const own = context.machines.get(vmUid);
  if (own !== undefined) return requeueAfter(SOON_MS);
  const { steps } = context;
  await steps.domains.remove(vmUid, options);
  await steps.links.remove(vmUid, options);
  await steps.syncNetwork();
  await steps.cloudInit.remove(vmUid, options);
  const target = machine && placed(machine);
  // Of a machine that was deleted meanwhile the sweep removes what is left.
  const disks = target === undefined ? [] : await movingDisks(target, context, options);
  for (const disk of disks) await steps.volumes.transfers.drop(refOf(disk), {}, options);
  return release(migration, context, options);
};

/** Nothing is left here that is only known by this migration: from now on it need not be kept. */
export const release = async (
  migration: VirtualMachineMigration,
  { room, migrations }: MigrationContext,
  options: MigrationOptions,
): Promise<ReconcileResult> => {
  await room.forget(migration.metadata.uid);
  await migrations.swap(migration, { released: true }, options);
  return done;
};
