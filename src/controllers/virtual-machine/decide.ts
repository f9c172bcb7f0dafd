import { findCondition, isTrue } from "../../api/condition.ts";
import { GUEST_FINALIZER, type VirtualMachine } from "../../api/virtual-machine.ts";
import { PATIENCE_MS } from "../acquaintance.ts";
import { type Announcement, announceTrouble } from "../announce.ts";
import { fateOfFenced } from "../hypervisor/fencing.ts";
import { isLost } from "../hypervisor/status.ts";
import type { SchedulingResult } from "../metrics.ts";
import { isSameStatus } from "../status-writer.ts";
import { NODE_LOST } from "../voice.ts";
import { findViolations } from "./checks.ts";
import type { MachineFacts, PlacedFacts, UnplacedFacts } from "./observe.ts";
import { homeOf, isInFlight } from "../virtual-machine-migration/phase.ts";
import { chooseEvacuation, type EvacuationChoice } from "./evacuation.ts";
import { choosePlacement } from "./placement.ts";
import type { Placement, Reserved } from "./reservations.ts";
import { chooseResize, describeSize, type ResizeChoice, UNREADABLE_MACHINES } from "./resize.ts";
import { type OwnStatus, RESIZE_PENDING, saysStanding, standingStatus, storedStatus } from "./standing.ts";
import {
  blockedStatus,
  type MachineStatus,
  nodeLost,
  placedStatus,
  PROVISIONING,
  provisioning,
  spokenStatus,
  unschedulableStatus,
} from "./status.ts";

export type MachineStep =
  | { readonly kind: "add-finalizer" }
  /** Ends everything unless the node is fenced, as the API server knows at this moment. */
  | { readonly kind: "confirm-fenced"; readonly nodeName: string }
  | { readonly kind: "remove-finalizer" }
  | { readonly kind: "apply-status"; readonly status: MachineStatus | OwnStatus }
  | { readonly kind: "announce"; readonly announcement: Announcement };

export interface MachineDecision {
  /** In this order; a later one is not taken when an earlier one fails. */
  readonly steps: readonly MachineStep[];
  /** To be held before anything else happens, so that nobody else is given the same. */
  readonly reserve?: Reserved;
  /** Look again after this time, in ms, if nothing changes before. */
  readonly requeueAfterMs?: number;
  /** For the metrics, when it was tried to place the machine. */
  readonly result?: SchedulingResult;
}

/**
 * What to do about a machine. Pure: the same facts give the same decision, and
 * once it is carried out there is nothing more to do.
 */
export const decideMachine = (facts: MachineFacts, now: Date): MachineDecision => {
  const isLeaving = facts.machine.metadata.deletionTimestamp !== undefined;
  if (facts.kind === "unplaced") return isLeaving ? letGo(facts.machine) : decidePlacement(facts, now);
  return isLeaving ? decideRelease(facts, now) : decideCustody(facts, now);
};

const nothing: MachineDecision = { steps: [] };

/** Nobody tells when an object that could not be understood can be again. */
const UNREADABLE_RETRY_MS = 30_000;

const decidePlacement = (facts: UnplacedFacts, now: Date): MachineDecision => {
  const { machine, reserved, unreadableMachines } = facts;
  // It may have been written already; whatever else is true by now, it must not be another one.
  if (reserved !== undefined) return place(machine, reserved, now);
  const violations = findViolations(facts);
  if (violations.size > 0) {
    const isYoung = machine.status === undefined && facts.seenForMs < PATIENCE_MS;
    const mayCome = [...violations.values()].some(({ kind }) => kind === "missing");
    if (isYoung && mayCome) return { steps: [], requeueAfterMs: PATIENCE_MS - facts.seenForMs };
    const status = blockedStatus(machine, violations, now);
    return { ...say(machine, status), result: "prerequisites_missing" };
  }
  if (unreadableMachines > 0) {
    const status = unschedulableStatus(
      machine,
      UNREADABLE_MACHINES,
      unreadableMessage(unreadableMachines),
      now,
    );
    return { ...say(machine, status), result: "unschedulable", requeueAfterMs: UNREADABLE_RETRY_MS };
  }
  const choice = choosePlacement(facts);
  if (choice.kind === "placed") return place(machine, choice.placement, now);
  const status = unschedulableStatus(machine, "Unschedulable", choice.message, now);
  return { ...say(machine, status, "FailedScheduling"), result: "unschedulable" };
};

const unreadableMessage = (count: number): string =>
  `Nothing is placed, because the controller cannot understand ${count === 1 ? "a VirtualMachine" : `${count} VirtualMachines`} and so does not know which addresses and nodes are taken; its log says more. Is it older than the CustomResourceDefinitions?`;

/** The finalizer comes first: from the moment the allocation is written something may exist on the node. */
const place = (machine: VirtualMachine, placement: Placement, now: Date): MachineDecision => ({
  reserve: placement,
  result: "placed",
  steps: [
    ...holdFinalizer(machine),
    { kind: "apply-status", status: placedStatus(machine, placement, now) },
    announce({ type: "Normal", reason: "Scheduled", message: placement.explanation }),
  ],
});

const hasFinalizer = ({ metadata }: VirtualMachine): boolean =>
  metadata.finalizers?.includes(GUEST_FINALIZER) ?? false;

const holdFinalizer = (machine: VirtualMachine): readonly MachineStep[] =>
  hasFinalizer(machine) ? [] : [{ kind: "add-finalizer" }];

const letGo = (machine: VirtualMachine): MachineDecision =>
  hasFinalizer(machine) ? { steps: [{ kind: "remove-finalizer" }] } : nothing;

/** A machine on a node belongs to the node's agent; the controller watches over both. */
const decideCustody = (facts: PlacedFacts, now: Date): MachineDecision => {
  const { machine, nodeName, hypervisor, migration } = facts;
  const home = migration && homeOf(migration);
  if (home !== undefined && home !== nodeName) return moveHome(facts, home, now);
  const finalizer = holdFinalizer(machine);
  const evacuation = chooseEvacuation(facts);
  // Only a machine that is said to be lost: its agent takes that back before it starts the guest, and of
  // the two writes one meets a conflict.
  if (evacuation.kind === "node" && saysLost(machine)) return evacuate(facts, evacuation, now);
  const isSilent = hypervisor === undefined || isLost(hypervisor);
  if (isSilent) {
    const message =
      hypervisor === undefined ? nodeRemovedMessage(nodeName) : nodeSilentMessage(nodeName, evacuation);
    const status = spokenStatus(machine, nodeLost("Unknown", message), storedStatus(machine), now);
    return { steps: [...finalizer, ...say(machine, status).steps] };
  }
  // When a lost node is back, its agent sees words that are not its own, and says its own again. Until
  // then nothing else is said: the controller's own Ready would be taken back with it, and none be left.
  const isAgents = isSpokenForByAgent(facts);
  if (isAgents && findCondition(machine.status?.conditions, "Ready")?.reason === NODE_LOST)
    return { steps: finalizer };
  // What moves stays as it is: the other node makes the same of it.
  if (migration !== undefined && isInFlight(migration)) return { steps: finalizer };
  const resize = chooseResize(facts);
  const own = facts.isUnderstood ? standingStatus(facts, resize, now) : storedStatus(machine);
  const writes = isAgents
    ? tell(machine, own)
    : say(machine, spokenStatus(machine, provisioning(nodeName), own, now)).steps;
  return {
    steps: [...finalizer, ...writes, ...(writes.length > 0 ? announceResize(machine, resize) : [])],
    ...(resize.kind === "granted" && writes.length > 0 && { reserve: resize.resize }),
    ...(resize.kind === "pending" &&
      resize.reason === UNREADABLE_MACHINES && { requeueAfterMs: UNREADABLE_RETRY_MS }),
  };
};

/** What the controller alone says; what the agent says is left out, and stays. */
const tell = (machine: VirtualMachine, own: OwnStatus): readonly MachineStep[] =>
  saysStanding(machine, own) ? [] : [{ kind: "apply-status", status: own }];

const announceResize = ({ status }: VirtualMachine, resize: ResizeChoice): readonly MachineStep[] => {
  switch (resize.kind) {
    case "none":
      return [];
    case "granted": {
      const message = `The machine is given ${describeSize(resize.resize.size)}.`;
      return [announce({ type: "Normal", reason: "Resized", message })];
    }
    case "pending": {
      const { reason, message } = resize;
      const isNews = findCondition(status?.conditions, RESIZE_PENDING)?.message !== message;
      return isNews ? [announce({ type: "Warning", reason, message })] : [];
    }
  }
};

/**
 * The agent's words of the node that the machine has left in peace hold until
 * the other node's come.
 */
const isSpokenForByAgent = ({ machine, nodeName }: PlacedFacts): boolean => {
  const { guest, conditions } = machine.status ?? {};
  if (guest === undefined) return false;
  return guest.nodeName === nodeName || !isOwnWord(findCondition(conditions, "Ready")?.reason);
};

const saysLost = ({ status }: VirtualMachine): boolean => {
  const ready = findCondition(status?.conditions, "Ready");
  return ready?.status === "Unknown" && ready.reason === NODE_LOST;
};

const isOwnWord = (reason: string | undefined): boolean =>
  reason === undefined || reason === NODE_LOST || reason === PROVISIONING;

/**
 * The machine is where its migration says. What is said of it stays, so that
 * nobody takes it for not ready while it moves; unless that was said by the
 * controller, and of the node before.
 */
const moveHome = (facts: PlacedFacts, home: string, now: Date): MachineDecision => {
  const { machine, nodeName } = facts;
  const own = { ...storedStatus(machine), nodeName: home };
  const status = isOwnWord(findCondition(machine.status?.conditions, "Ready")?.reason)
    ? spokenStatus(machine, provisioning(home), own, now)
    : own;
  const message = `The machine has moved from node ${nodeName} to node ${home}.`;
  return {
    steps: [{ kind: "apply-status", status }, announce({ type: "Normal", reason: "Migrated", message })],
  };
};

/** The machine keeps all that it was given, and is started anew where there is room. */
const evacuate = (
  { machine, nodeName, hypervisor }: PlacedFacts,
  { relocation }: Extract<EvacuationChoice, { kind: "node" }>,
  now: Date,
): MachineDecision => {
  const own = { ...storedStatus(machine), nodeName: relocation.nodeName };
  const fate = hypervisor === undefined ? "is gone" : fateOfFenced(hypervisor);
  const message = `Node ${nodeName} ${fate}; the machine is started anew on node ${relocation.nodeName}, since all of its disks are in shared storage pools.`;
  return {
    reserve: relocation,
    steps: [
      { kind: "confirm-fenced", nodeName },
      {
        kind: "apply-status",
        status: spokenStatus(machine, provisioning(relocation.nodeName), own, now),
      },
      announce({ type: "Warning", reason: "Evacuated", message }),
    ],
    result: "evacuated",
  };
};

const nodeRemovedMessage = (nodeName: string): string =>
  `There is no Hypervisor ${nodeName} any more; the machine's disk was on that node. Delete the machine.`;

const nodeSilentMessage = (nodeName: string, evacuation: EvacuationChoice): string =>
  evacuation.kind === "stays"
    ? evacuation.message
    : `Node ${nodeName} gives no sign of life; the guest may still run.`;

/** A machine that is to be deleted keeps its place until nothing of it is left on the node. */
const decideRelease = (facts: PlacedFacts, now: Date): MachineDecision => {
  const { machine, nodeName, hypervisor } = facts;
  if (!hasFinalizer(machine)) return nothing;
  const home = facts.migration && homeOf(facts.migration);
  if (home !== undefined && home !== nodeName) return moveHome(facts, home, now);
  if (hypervisor === undefined) return abandon(nodeName);
  if (machine.status?.guest?.nodeName === nodeName && isTrue(machine.status?.conditions, "Released"))
    return letGo(machine);
  if (!isLost(hypervisor)) return nothing;
  const message = `Node ${nodeName} gives no sign of life, so that the guest cannot be removed. It is removed when the node is back. If the node is gone for good, delete Hypervisor ${nodeName}.`;
  return say(machine, spokenStatus(machine, nodeLost("Terminating", message), storedStatus(machine), now));
};

/** The administrator has deleted the Hypervisor: the node is gone for good, and what was on it. */
const abandon = (nodeName: string): MachineDecision => ({
  steps: [
    announce({
      type: "Warning",
      reason: "NodeRemoved",
      message: `There is no Hypervisor ${nodeName} any more, so that the machine is let go without a clean-up of that node.`,
    }),
    { kind: "remove-finalizer" },
  ],
});

/** Writes a status and tells of trouble, unless the stored status says it all already. */
const say = (machine: VirtualMachine, status: MachineStatus, eventReason?: string): MachineDecision => {
  if (saysAlready(machine, status)) return nothing;
  const [trouble] = announceTrouble("Ready", machine.status?.conditions, status.conditions);
  const write: MachineStep = { kind: "apply-status", status };
  if (trouble === undefined) return { steps: [write] };
  return { steps: [write, announce({ ...trouble, reason: eventReason ?? trouble.reason })] };
};

const announce = (announcement: Announcement): MachineStep => ({ kind: "announce", announcement });

/** The agent's fields and conditions do not count, except where the controller speaks in its place. */
const saysAlready = ({ status }: VirtualMachine, wanted: MachineStatus): boolean => {
  if (status === undefined) return false;
  const { nodeName, allocation, observedGeneration, printableStatus } = status;
  const types = new Set([RESIZE_PENDING, ...wanted.conditions.map(({ type }) => type)]);
  // A Stalled of the controller's own has to go; on a placed machine it is the agent's.
  if (status.nodeName === undefined) types.add("Stalled");
  const conditions = [...types].flatMap((type) => findCondition(status.conditions, type) ?? []);
  return isSameStatus({ nodeName, allocation, observedGeneration, printableStatus, conditions }, wanted);
};
