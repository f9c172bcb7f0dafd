import { isTrue } from "../../../api/condition.ts";
import {
  type MigrationPhase,
  RELEASED,
  type VirtualMachineMigration,
} from "../../../api/virtual-machine-migration.ts";
import { done, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import { begin, cleanUp, endSession, giveUp, release } from "./depart.ts";
import { desiredLink } from "../../desired.ts";
import {
  type MigrationContext,
  type MigrationOptions,
  movingDisks,
  refOf,
  requireMachine,
  isTerminating,
} from "./migration-context.ts";
import {
  decide,
  isSuperseded,
  type MigrationFacts,
  type MigrationRole,
  type MigrationStep,
  type SessionState,
} from "../../migrations/index.ts";
import { prepareArrival, prepareDisks } from "./prepare-arrival.ts";

const CHECK_MS = 1_000;
const SOON_MS = 500;
const OVER: ReadonlySet<MigrationPhase | undefined> = new Set(["Succeeded", "Failed", "Cancelled"]);
const COMPLETE = { percent: 100, remainingMiB: 0 } as const;

type Take = (
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
) => Promise<ReconcileResult>;

/** One pass over a migration that this node is an end of. */
export const reconcileMigration = async (
  uid: string,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<ReconcileResult> => {
  const migration = context.migrations.get(uid);
  if (migration === undefined) {
    await context.room.forget(uid);
    await expectNoLonger(uid, context);
    return done;
  }
  const role = context.migrations.roleOf(migration);
  const vmUid = migration.status?.machineUid;
  if (role === undefined || vmUid === undefined) return done;
  if (role === "target") await keepExpecting(migration, context, options);
  const step = decide(await factsOf(migration, { role, vmUid }, context, options));
  return takers[step](migration, context, options);
};

const factsOf = async (
  migration: VirtualMachineMigration,
  { role, vmUid }: { readonly role: MigrationRole; readonly vmUid: string },
  { room, migrations, machines, now }: MigrationContext,
  options: MigrationOptions,
): Promise<MigrationFacts> => {
  const { metadata, status, spec } = migration;
  const { uid } = metadata;
  const session = role === "source" ? room.outgoing(uid) : room.incoming(uid);
  const startedAt = status?.startedAt === undefined ? Infinity : Date.parse(status.startedAt);
  const isLate = role === "source" && now().getTime() > startedAt + spec.timeoutSeconds * 1000;
  const isUseless = role === "source" && isTerminating(machines.get(vmUid));
  const state: SessionState = session?.state() ?? "none";
  return {
    role,
    phase: status?.phase,
    live: status?.live !== false,
    targetReady: status?.targetReady === true,
    isGivenUp: metadata.deletionTimestamp !== undefined || isLate || isUseless,
    session: state,
    domain: await room.observe(role, vmUid, options),
    isOwner: isSuperseded(migration, migrations.list()),
    isReleased: isTrue(status?.conditions, RELEASED),
  };
};

/** How long a guest that has come is a newcomer, in ms: its floating address follows it within that. */
const NEWCOMER_MS = 10_000;

/** Time until the guest is one like others, in ms; 0 when it is. */
const newcomerForMs = ({ status }: VirtualMachineMigration, now: Date): number => {
  const { phase, live, completedAt } = status ?? {};
  if (phase !== "Succeeded" || live === false || completedAt === undefined) return 0;
  return Math.max(0, Date.parse(completedAt) + NEWCOMER_MS - now.getTime());
};

/** The rules for a guest that is on its way, or has just come, stay; also when this agent was started a moment ago. */
const keepExpecting = async (
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<void> => {
  const { metadata, status } = migration;
  const isComing = status?.phase === "Copying" || status?.phase === "Switching";
  if (isComing || newcomerForMs(migration, context.now()) > 0) {
    const machine = await context.readMachine(migration, options);
    if (machine !== undefined) context.arrivals.expect(metadata.uid, machine);
  } else if (status?.phase === "Succeeded") await expectNoLonger(metadata.uid, context);
};

const expectNoLonger = async (
  migrationUid: string,
  { arrivals, steps }: Pick<MigrationContext, "arrivals" | "steps">,
): Promise<void> => {
  if (arrivals.forget(migrationUid)) await steps.syncNetwork();
};

/** State of a firmware or a TPM is libvirt's own, and moves with a guest that runs only. */
const staysBecauseOf: Readonly<Record<"UEFI" | "TPM", string>> = {
  UEFI: "The variables of its UEFI firmware",
  TPM: "The content of its TPM",
};

const prepare: Take = async (migration, context, options) => {
  const target = await requireMachine(migration, context, options);
  const { spec } = target.machine;
  const state = spec.tpm ? "TPM" : spec.firmware === "UEFI" ? "UEFI" : undefined;
  if (migration.status?.live === false && state !== undefined) {
    const message = `${staysBecauseOf[state]} cannot be copied while the guest is off: start it, and move it while it runs.`;
    await context.migrations.swap(
      migration,
      { phase: "Failed", said: { reason: "NeedsRunningGuest", message } },
      options,
    );
    return requeueAfter(0);
  }
  const act = migration.status?.live === false ? prepareDisks : prepareArrival;
  const outcome = await act(target, migration, context, options);
  if (outcome !== undefined && "kind" in outcome) {
    const { reason, message } = outcome;
    await context.migrations.swap(migration, { said: { reason, message } }, options);
    return requeueAfter(CHECK_MS);
  }
  const message = "The target has what the guest needs there.";
  await context.migrations.swap(
    migration,
    { targetReady: true, said: { reason: "TargetReady", message } },
    options,
  );
  return requeueAfter(0);
};

const refuse: Take = async (migration, context, options) => {
  const message = "The guest does not run: unpause or start it, and make another migration.";
  await context.migrations.swap(
    migration,
    { phase: "Failed", said: { reason: "GuestNotRunning", message } },
    options,
  );
  return requeueAfter(0);
};

const switchCold: Take = async (migration, context, options) => {
  const message = "All data are at the new node.";
  await context.migrations.swap(
    migration,
    { phase: "Switching", said: { reason: "Switching", message } },
    options,
  );
  return requeueAfter(0);
};

/** What came is an ordinary machine's from now on, and ways lead to it. */
const succeed: Take = async (migration, context, options) => {
  const target = await requireMachine(migration, context, options);
  const { steps, room, migrations } = context;
  const isLive = migration.status?.live !== false;
  if (isLive) await steps.links.ensure(desiredLink(target), options);
  for (const disk of await movingDisks(target, context, options))
    if (!disk.isShared) await steps.volumes.transfers.accept(refOf(disk), options);
  const downtimeMilliseconds = isLive
    ? await room.downtimeOf(target.machine.metadata.uid, options)
    : undefined;
  const message = `The machine is on node ${context.nodeName}.`;
  const progress = isLive ? { ...migration.status?.progress, ...COMPLETE } : undefined;
  const news = {
    phase: "Succeeded",
    said: { reason: "Succeeded", message },
    downtimeMilliseconds,
    progress,
  } as const;
  await migrations.swap(migration, news, options);
  return requeueAfter(0);
};

const fail: Take = async (migration, context, options) => {
  const message = "libvirt of the target did not let the guest go on; it goes on where it was.";
  await context.migrations.swap(
    migration,
    { phase: "Failed", said: { reason: "ResumeFailed", message } },
    options,
  );
  return requeueAfter(0);
};

/** Only what this migration has brought, and only while the machine is not this node's by another right. */
const discard: Take = async (migration, context, options) => {
  const { steps, room, arrivals, nodeName } = context;
  const { uid } = migration.metadata;
  const machineUid = migration.status?.machineUid ?? "";
  const machine = await context.readMachine(migration, options);
  // After Switching the controller first has to say where it belongs.
  if (machine?.status?.nodeName === nodeName) return requeueAfter(CHECK_MS);
  await room.forget(uid);
  arrivals.forget(uid);
  await steps.domains.remove(machineUid, options);
  await steps.links.remove(machineUid, options);
  await steps.syncNetwork();
  await steps.cloudInit.remove(machineUid, options);
  for (const { ref } of await steps.volumes.disks.list(options))
    await steps.volumes.transfers.drop(ref, { migrationUid: uid }, options);
  return release(migration, context, options);
};

const takers: Readonly<Record<MigrationStep, Take>> = {
  none: async (migration, { room, nodeName, now }) => {
    // Sockets that a process left which has been killed.
    const { phase, machineUid } = migration.status ?? {};
    if (machineUid !== undefined && OVER.has(phase)) await room.forget(migration.metadata.uid);
    const isHere = migration.status?.targetNode === nodeName;
    const newcomerMs = isHere ? newcomerForMs(migration, now()) : 0;
    return newcomerMs > 0 ? requeueAfter(newcomerMs) : done;
  },
  "look-again": async () => requeueAfter(SOON_MS),
  prepare,
  begin,
  refuse,
  "give-up": giveUp,
  "switch-cold": switchCold,
  succeed,
  fail,
  confirm: (migration, context, options) => endSession(migration, "confirm", context, options),
  cancel: (migration, context, options) => endSession(migration, "cancel", context, options),
  "cancel-job": async ({ status }, { room }, options) => {
    await room.cancelJob(status?.machineUid ?? "", options);
    return requeueAfter(SOON_MS);
  },
  resume: async ({ status }, { room }, options) => {
    await room.resume(status?.machineUid ?? "", options);
    return requeueAfter(SOON_MS);
  },
  "clean-up": cleanUp,
  discard,
  release,
};
