import { isTrue } from "../api/condition.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import { done, keyOf, loggerFor, type ReconcileResult, requeueAfter } from "../kube/index.ts";
import type { AgentOptions } from "./agent.ts";
import { announce } from "./announce.ts";
import { type PlacedMachine, placed } from "./desired.ts";
import { type Decision, decide, isOn, observeGuest, recordStartFailure } from "./lifecycle.ts";
import { machineStatus, type StepOutcome } from "./machine-status.ts";
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
    await removeOrphan(uid, options, context, signal);
    return done;
  }
  const target = placed(machine);
  if (target === undefined || isTrue(machine.status?.conditions, "Released")) return done;

  const domain = await context.domains.observe(uid, { signal });
  const decision = decide({ machine, domain, now: options.now() }, options.nodeName);
  await recordShutdown(machine, decision, options, signal);
  const outcome = await takeStep(decision, target, options, context, signal);
  const after = await guestAfter(decision, outcome, uid, options, context, signal);
  const latest = options.machines.get(uid) ?? machine;
  const apply = machineStatus({
    machine: latest,
    // Its owner may have changed the spec meanwhile: this pass did not look at that.
    generation: generationOf(machine),
    goal: decision.goal,
    guest: after,
    outcome,
    now: options.now(),
  });
  await options.machines.say(latest, apply, { signal });
  announce(options.events, machine, apply);
  options.agentMetrics.machineChanged(machine, apply);
  return nextLook(decision, outcome);
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

/** The grace period must outlive this process: it is written down before the power button is pressed. */
const recordShutdown = async (
  machine: VirtualMachine,
  { goal, guest, step }: Decision,
  options: AgentOptions,
  signal: AbortSignal,
): Promise<void> => {
  if (step.kind !== "press-power-button" || machine.status?.guest?.shutdownRequestedAt !== undefined) return;
  const apply = machineStatus({
    machine,
    generation: generationOf(machine),
    goal,
    guest,
    outcome: { kind: "done" },
    now: options.now(),
  });
  await options.machines.say(machine, apply, { signal });
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
