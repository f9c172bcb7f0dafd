import { isTrue } from "../../../api/condition.ts";
import type { RestorePowerState } from "../../../api/virtual-machine-restore.ts";
import type { GuestStatus, VirtualMachine } from "../../../api/virtual-machine.ts";
import {
  done,
  type EventRecorder,
  keyOf,
  type Logger,
  loggerFor,
  type ReconcileResult,
  requeueAfter,
  type Store,
} from "../../../kube/index.ts";
import { announce } from "./announce.ts";
import { type PlacedMachine, placed } from "../../desired.ts";
import { desiredProbes } from "./desired-probes.ts";
import type { ObservedDomain } from "../../domains/index.ts";
import { isOn, observeGuest, recordStartFailure } from "./guest-record.ts";
import { type GuestRequests, refusalOf } from "./guest-requests.ts";
import { guestVolumes, mustNameVolumesFirst } from "./guest-volumes.ts";
import { type Decision, decide, type GuestRequest, type MachineFacts, mustBeSaidFirst } from "./lifecycle.ts";
import {
  type MachineReport,
  machineStatus,
  readinessSaid,
  type StepOutcome,
  withGuestVolumes,
} from "./machine-status.ts";
import type { AgentMetrics } from "../../metrics.ts";
import type { MigrationHold } from "../../migrations/index.ts";
import type { Finding } from "../../probes/types.ts";
import type { IsMoving } from "../migration/moving-machines.ts";
import { removeOrphan } from "./remove-orphan.ts";
import type { MachineView } from "../../report.ts";
import { isStartFailure } from "./start-failure.ts";
import { executeStep, type StepContext } from "./steps.ts";

/** A download or a copy announces its end; this is for the announcement that got lost. */
const STORAGE_CHECK_MS = 15_000;
const SEED_RETRY_MS = 10_000;
/** How often a guest is asked again for what it has not let go of, or could not be given. */
const DIFFERENCE_CHECK_MS = 10_000;
/** While the data of a deleted machine are overwritten. */
const REMOVAL_CHECK_MS = 1_000;

/** What a pass over a machine needs beside the rooms. */
export interface MachinePassOptions {
  readonly nodeName: string;
  readonly store: Pick<Store<VirtualMachine>, "unreadable">;
  readonly machines: MachineView;
  readonly requests: GuestRequests;
  /** What a restore that works on the machine is to leave behind; undefined when there is none. */
  readonly restoring: (vmUid: string) => RestorePowerState | undefined;
  /** What a migration of the machine forbids. */
  readonly migrating: (vmUid: string) => MigrationHold | undefined;
  /** Whether one has a say in where it is, as the API server knows. */
  readonly isMoving: IsMoving;
  readonly events: EventRecorder;
  readonly logger: Logger;
  readonly agentMetrics: AgentMetrics;
  readonly now: () => Date;
}

const generationOf = ({ metadata }: VirtualMachine): number => metadata.generation ?? 0;

/** Looks at one machine, takes one step, says what came of it. */
export const reconcileMachine = async (
  uid: string,
  options: MachinePassOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<ReconcileResult> => {
  const machine = options.machines.get(uid);
  if (machine === undefined) {
    context.probes.forget(uid);
    options.requests.settle(uid, "The machine is not on this node.");
    // What is here may be on its way from or to another node.
    return options.migrating(uid) === undefined ? removeOrphan(uid, options, context, signal) : done;
  }
  const target = placed(machine);
  if (target === undefined || isTrue(machine.status?.conditions, "Released")) {
    context.probes.forget(uid);
    options.requests.settle(uid, "The machine is not on this node.");
    return done;
  }

  const domain = await context.domains.observe(uid, { signal });
  const { liveness } = context.probes.findings(uid);
  const holds = { restoring: options.restoring(uid), migrating: options.migrating(uid) };
  const facts = { machine, domain, liveness, ...holds, now: options.now() };
  const request = heed(uid, facts, options);
  const decision = decideOn(target, { ...facts, request }, domain, options, context);
  await sayFirst(machine, decision, options, signal);
  // A guest that is about to begin or to end is another one afterwards.
  if (!goesOn(decision)) context.probes.forget(uid);
  const outcome = await takeStep(decision, { ...target, domain }, options, context, signal);
  const after = await guestAfter(decision, outcome, target, options, context, signal);
  const readiness = probe(target, decision, after, options, context);
  await say({ machine, decision, guest: after, outcome, readiness }, options, signal);
  if (request !== undefined) options.requests.settle(uid);
  return nextLook(decision, outcome);
};

/** Writes what must be known before the step is taken. */
const sayFirst = async (
  machine: VirtualMachine,
  decision: Decision,
  options: MachinePassOptions,
  signal: AbortSignal,
): Promise<void> => {
  const { guest, step } = decision;
  const namesVolumes = mustNameVolumesFirst(machine, guest);
  const isKept = namesVolumes && step.kind === "keep";
  const named = isKept ? withGuestVolumes(machine, guest.volumes) : undefined;
  if (named !== undefined) await options.machines.say(machine, named, { signal });
  else if (namesVolumes || mustBeSaidFirst(machine, decision)) {
    await say({ machine, decision, guest, outcome: { kind: "done" } }, options, signal);
  }
};

/** The request that this pass heeds; one that makes no sense is answered at once. */
const heed = (
  uid: string,
  facts: Pick<MachineFacts, "machine" | "domain" | "restoring" | "migrating">,
  { requests }: MachinePassOptions,
): GuestRequest | undefined => {
  const request = requests.next(uid);
  if (request === undefined) return undefined;
  const refusal = refusalOf(request, facts);
  if (refusal === undefined) return request;
  requests.settle(uid, refusal);
  return undefined;
};

const decideOn = (
  target: PlacedMachine,
  facts: MachineFacts,
  domain: ObservedDomain | undefined,
  { nodeName }: MachinePassOptions,
  { volumeObjects }: StepContext,
): Decision => {
  const decision = decide(facts, nodeName);
  const guest = withObserved(decision.guest, target, decision, domain, volumeObjects);
  return { ...decision, guest };
};

/** The record of the guest with what it has been given by now. */
const withObserved = (
  before: GuestStatus,
  target: PlacedMachine,
  { goal }: Pick<Decision, "goal">,
  domain: ObservedDomain | undefined,
  volumes: StepContext["volumeObjects"],
): GuestStatus => {
  const { volumes: _, ...guest } = before;
  const hardware = domain?.hardware;
  const named = guestVolumes(target, { guest: before, goal, hardware, volumes });
  return {
    ...guest,
    ...(hardware === undefined
      ? {}
      : { vcpus: hardware.vcpus.current, memoryMiB: Math.floor(hardware.memory.currentMiB) }),
    ...(named === undefined ? {} : { volumes: named }),
  };
};

/** Writes the status, and tells what has changed by it. */
const say = async (
  report: Pick<MachineReport, "machine" | "guest" | "outcome" | "readiness"> & {
    readonly decision: Decision;
  },
  { machines, events, agentMetrics, now }: MachinePassOptions,
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

/** Whether the guest is the same one after the step, with what is known of its probes. */
const goesOn = ({ step }: Decision): boolean => step.kind === "keep" || step.kind === "hold";

/** Has a guest that runs as wanted probed, and no other. Returns what is known of its readiness. */
const probe = (
  target: PlacedMachine,
  decision: Decision,
  guest: GuestStatus,
  { now }: MachinePassOptions,
  { probes }: StepContext,
): Finding | undefined => {
  const { machine } = target;
  const { goal } = decision;
  const { livenessFailure } = decision.guest;
  const { uid } = machine.metadata;
  const isWanted = goal.kind === "run" && guest.powerState === "Running" && livenessFailure === undefined;
  const readyBefore: Finding = goesOn(decision) ? readinessSaid(machine) : { kind: "pending" };
  const probed = isWanted ? desiredProbes(target, { guest, readyBefore, now: now() }) : undefined;
  if (probed === undefined) probes.forget(uid);
  else probes.follow(probed);
  return probes.findings(uid).readiness;
};

const takeStep = async (
  { step }: Decision,
  target: PlacedMachine & { readonly domain: ObservedDomain | undefined },
  options: MachinePassOptions,
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

/** Steps after which libvirt need not be asked again. */
const changesNothing = ({ step }: Decision, outcome: StepOutcome): boolean => {
  if (outcome.kind === "kept") return outcome.changes === 0;
  return outcome.kind !== "done" || ["keep", "rest", "hold", "release"].includes(step.kind);
};

/** What is known of the guest after the step; libvirt is asked again where the step changed something. */
const guestAfter = async (
  decision: Decision,
  outcome: StepOutcome,
  target: PlacedMachine,
  options: MachinePassOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<GuestStatus> => {
  const { step, guest } = decision;
  const at = { nodeName: options.nodeName, now: options.now() };
  if (outcome.kind === "start-failed") return recordStartFailure(guest, outcome.message, at.now);
  if (changesNothing(decision, outcome)) return guest;
  const domain = await context.domains.observe(target.machine.metadata.uid, { signal });
  // A guest that ended at once after its start did run: its end must count.
  const between =
    step.kind === "start" && !isOn(domain) ? observeGuest(guest, { powerState: "Running" }, at) : guest;
  return withObserved(observeGuest(between, domain, at), target, decision, domain, context.volumeObjects);
};

const nextLook = (decision: Decision, outcome: StepOutcome): ReconcileResult => {
  switch (outcome.kind) {
    // The record of the failure says how long to wait; the next pass reads it.
    case "start-failed":
      return requeueAfter(1000);
    case "no-seed":
      return requeueAfter(SEED_RETRY_MS);
    case "no-disk":
      if (outcome.disk.kind === "refused") return done;
      return requeueAfter(outcome.disk.kind === "failed" ? outcome.disk.retryAfterMs : STORAGE_CHECK_MS);
    case "kept":
      return outcome.comparison.storage.length === 0 ? done : requeueAfter(DIFFERENCE_CHECK_MS);
    default:
      return afterStep(decision, outcome);
  }
};

const afterStep = ({ step, requeueAfterMs }: Decision, outcome: StepOutcome): ReconcileResult => {
  if (step.kind === "release" && outcome.kind !== "released") return requeueAfter(REMOVAL_CHECK_MS);
  // The lifecycle event of a cut may have come before this pass looked.
  if (step.kind === "cut-power") return requeueAfter(1000);
  return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
};
