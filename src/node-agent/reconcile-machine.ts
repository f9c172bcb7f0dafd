import { isTrue } from "../api/condition.ts";
import type { GuestStatus, VirtualMachine } from "../api/virtual-machine.ts";
import { done, keyOf, loggerFor, type ReconcileResult, requeueAfter } from "../kube/index.ts";
import type { AgentOptions } from "./agent.ts";
import { announce } from "./announce.ts";
import { type PlacedMachine, placed } from "./desired.ts";
import { desiredProbes } from "./desired-probes.ts";
import { type Decision, decide, isOn, observeGuest, recordStartFailure } from "./lifecycle.ts";
import { type MachineReport, machineStatus, readinessSaid, type StepOutcome } from "./machine-status.ts";
import type { Finding } from "./probes/types.ts";
import { isStartFailure } from "./start-failure.ts";
import { executeStep, removeGuest, type StepContext } from "./steps.ts";

/** A download announces its end; this is for the announcement that got lost. */
const FETCH_CHECK_MS = 15_000;

const generationOf = ({ metadata }: VirtualMachine): number => metadata.generation ?? 0;

/** Looks at one machine, takes one step, says what came of it. */
export const reconcileMachine = async (
  uid: string,
  options: AgentOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<ReconcileResult> => {
  const machine = options.machines.get(uid);
  if (machine === undefined) {
    context.probes.forget(uid);
    await removeOrphan(uid, options, context, signal);
    return done;
  }
  const target = placed(machine);
  if (target === undefined || isTrue(machine.status?.conditions, "Released")) {
    context.probes.forget(uid);
    return done;
  }

  const domain = await context.domains.observe(uid, { signal });
  const { liveness } = context.probes.findings(uid);
  const decision = decide({ machine, domain, liveness, now: options.now() }, options.nodeName);
  if (mustBeSaidFirst(machine, decision)) {
    await say({ machine, decision, guest: decision.guest, outcome: { kind: "done" } }, options, signal);
  }
  // A guest that is about to begin or to end is another one afterwards.
  if (decision.step.kind !== "keep") context.probes.forget(uid);
  const outcome = await takeStep(decision, target, options, context, signal);
  const after = await guestAfter(decision, outcome, uid, options, context, signal);
  const readiness = probe(target, decision, after, options, context);
  await say({ machine, decision, guest: after, outcome, readiness }, options, signal);
  return nextLook(decision, outcome);
};

/** Writes the status, and tells what has changed by it. */
const say = async (
  report: Pick<MachineReport, "machine" | "guest" | "outcome" | "readiness"> & {
    readonly decision: Decision;
  },
  { machines, events, agentMetrics, now }: AgentOptions,
  signal: AbortSignal,
): Promise<void> => {
  const { machine, decision, ...rest } = report;
  const latest = machines.get(machine.metadata.uid) ?? machine;
  const apply = machineStatus({
    ...rest,
    machine: latest,
    // Its owner may have changed the spec meanwhile: this pass did not look at that.
    generation: generationOf(machine),
    goal: decision.goal,
    now: now(),
  });
  await machines.say(latest, apply, { signal });
  announce(events, latest, apply);
  agentMetrics.machineChanged(latest, apply);
};

/**
 * What must be written down before the step is taken. The grace period and the
 * verdict of a liveness probe, because they must outlive this process. And the
 * end of a guest that is started again: who relies on the machine, such as a
 * floating address, goes elsewhere meanwhile.
 */
const mustBeSaidFirst = ({ status }: VirtualMachine, { step, guest }: Decision): boolean => {
  switch (step.kind) {
    case "press-power-button":
      return status?.guest?.shutdownRequestedAt === undefined;
    case "cut-power":
      return guest.livenessFailure !== undefined && status?.guest?.livenessFailure === undefined;
    case "start":
      return isOn(status?.guest);
    default:
      return false;
  }
};

/** Has a guest that runs as wanted probed, and no other. Returns what is known of its readiness. */
const probe = (
  target: PlacedMachine,
  { goal, step, guest: { livenessFailure } }: Decision,
  guest: GuestStatus,
  { now }: AgentOptions,
  { probes }: StepContext,
): Finding | undefined => {
  const { machine } = target;
  const { uid } = machine.metadata;
  const isWanted = goal.kind === "run" && guest.powerState === "Running" && livenessFailure === undefined;
  const readyBefore: Finding = step.kind === "keep" ? readinessSaid(machine) : { kind: "pending" };
  const probed = isWanted ? desiredProbes(target, { guest, readyBefore, now: now() }) : undefined;
  if (probed === undefined) probes.forget(uid);
  else probes.follow(probed);
  return probes.findings(uid).readiness;
};

/**
 * No machine of this node has this UID, and the store is in sync. Before data
 * is destroyed, two mistakes are ruled out: an object that cannot be read is
 * not among the store's machines, and a machine whose status was lost or
 * changed is no longer among this node's; neither is nobody's.
 */
const removeOrphan = async (
  uid: string,
  { store, machines, rooms, logger, agentMetrics }: AgentOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<void> => {
  if (!(await isAnywhere(uid, rooms, signal))) return;
  const unreadable = store.unreadable().find((object) => object.uid === uid);
  if (unreadable !== undefined) {
    logger.warn({ uid, err: unreadable.message }, "a guest is left alone: its machine cannot be read");
    return;
  }
  if (await machines.existsInCluster(uid, { signal })) {
    logger.warn({ uid }, "a guest is left alone: its machine exists, and its status does not name this node");
    return;
  }
  await removeGuest(uid, context, { signal });
  agentMetrics.orphanRemoved();
  logger.info({ uid }, "removed what was left of a machine that no longer exists");
};

const isAnywhere = async (
  uid: string,
  rooms: AgentOptions["rooms"],
  signal: AbortSignal,
): Promise<boolean> => {
  const { domains, disks, cloudInit, links } = rooms;
  if ((await domains.observe(uid, { signal })) !== undefined) return true;
  const lists = await Promise.all([disks, cloudInit, links].map((room) => room.list({ signal })));
  return lists.some((uids) => uids.includes(uid));
};

const takeStep = async (
  { step }: Decision,
  target: PlacedMachine,
  options: AgentOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<StepOutcome> => {
  try {
    return await executeStep(step, target, context, { signal });
  } catch (error) {
    if (step.kind !== "start" || signal.aborted || !isStartFailure(error)) throw error;
    loggerFor(options.logger, keyOf(target.machine)).warn({ err: error }, "the guest could not be started");
    return { kind: "start-failed", message: error.message };
  }
};

/** What is known of the guest after the step; libvirt is asked again where the step changed something. */
const guestAfter = async (
  { step, guest }: Decision,
  outcome: StepOutcome,
  uid: string,
  options: AgentOptions,
  context: StepContext,
  signal: AbortSignal,
) => {
  const at = { nodeName: options.nodeName, now: options.now() };
  if (outcome.kind === "start-failed") return recordStartFailure(guest, outcome.message, at.now);
  if (outcome.kind !== "done" || step.kind === "keep" || step.kind === "rest") return guest;
  const domain = await context.domains.observe(uid, { signal });
  // A guest that ended at once after its start did run: its end must count.
  const between =
    step.kind === "start" && !isOn(domain) ? observeGuest(guest, { powerState: "Running" }, at) : guest;
  return observeGuest(between, domain, at);
};

const nextLook = (decision: Decision, outcome: StepOutcome): ReconcileResult => {
  // The record of the failure says how long to wait; the next pass reads it.
  if (outcome.kind === "start-failed") return requeueAfter(1000);
  if (outcome.kind === "no-disk") {
    if (outcome.disk.kind === "refused") return done;
    return requeueAfter(outcome.disk.kind === "failed" ? outcome.disk.retryAfterMs : FETCH_CHECK_MS);
  }
  // The lifecycle event of a cut may have come before this pass looked.
  if (decision.step.kind === "cut-power") return requeueAfter(1000);
  return decision.requeueAfterMs === undefined ? done : requeueAfter(decision.requeueAfterMs);
};
