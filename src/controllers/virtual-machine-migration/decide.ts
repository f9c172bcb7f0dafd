import { findCondition, isTrue } from "../../api/condition.ts";
import {
  LEFTOVERS_FINALIZER,
  MIGRATION_FINALIZER,
  type MigrationPhase,
  RELEASED,
  type VirtualMachineMigration,
} from "../../api/virtual-machine-migration.ts";
import { PATIENCE_MS } from "../acquaintance.ts";
import { ready } from "../conditions.ts";
import { isLost } from "../hypervisor/status.ts";
import { announce, type Decision, dropFinalizer, holdFinalizer, type Step } from "../steps.ts";
import { sortDisks } from "../virtual-machine/relocation.ts";
import { say, spokenStatus, type Voice } from "../voice.ts";
import { findViolation, isGone, powerOf } from "./checks.ts";
import { chooseTarget } from "./choose.ts";
import type { Flight } from "./claims.ts";
import type { MigrationFacts } from "./observe.ts";
import { type Ends, endsOf, homeOf, isTerminal } from "./phase.ts";
import {
  ACCEPTED,
  acceptedDraft,
  acceptedVoice,
  cancelledVoice,
  failedVoice,
  followingVoice,
  heldBackVoice,
  type MigrationStatus,
  ownParts,
  silentVoice,
} from "./status.ts";

export interface MigrationDecision extends Decision<MigrationStatus> {
  /** To be held before anything else happens, so that nobody else is given the same. */
  readonly promise?: Flight;
  /** For the metrics, when it has come to its end. */
  readonly outcome?: MigrationPhase;
}

type MigrationStep = Step<MigrationStatus>;

const FINALIZERS = [MIGRATION_FINALIZER, LEFTOVERS_FINALIZER] as const;

/** Nobody tells when an object that could not be understood can be again. */
const UNREADABLE_RETRY_MS = 30_000;

/**
 * What to do about a migration. Pure: once it is carried out there is nothing
 * more to do. Where the machine is follows from the phase, and is written by
 * the machine's controller.
 */
export const decideMigration = (facts: MigrationFacts, now: Date): MigrationDecision => {
  const { migration } = facts;
  const ends = endsOf(migration);
  if (ends === undefined) return decideAcceptance(facts, now);
  return isTerminal(migration) ? settle(facts, ends, now) : decideCustody(facts, ends, now);
};

/** What the controller alone says, with a voice where it speaks of the phase. */
interface Word {
  readonly ends?: Ends;
  readonly machineUid?: string | undefined;
  readonly live?: boolean | undefined;
  readonly voice: Voice<MigrationPhase> | undefined;
}

const tell = (
  migration: VirtualMachineMigration,
  { ends, machineUid, live, voice }: Word,
  now: Date,
): readonly MigrationStep[] => {
  const status: MigrationStatus = {
    ...(machineUid !== undefined && { machineUid }),
    ...ends,
    ...(live !== undefined && { live }),
    ...spokenStatus(migration, voice, ends === undefined ? [] : [acceptedDraft(ends)], now),
  };
  return say(migration, status, { own: ownParts(migration), isTrouble: voice?.isTrouble ?? false });
};

/** The finalizer comes first: from the moment that it is accepted something of the machine may be on the target. */
const decideAcceptance = (facts: MigrationFacts, now: Date): MigrationDecision => {
  const { migration, machine, promised, seenForMs } = facts;
  if (isTerminal(migration)) return { steps: dropFinalizer(migration, ...FINALIZERS) };
  if (migration.metadata.deletionTimestamp !== undefined)
    return { steps: dropFinalizer(migration, ...FINALIZERS), outcome: "Cancelled" };
  const violation = promised === undefined ? findViolation(facts) : undefined;
  if (violation !== undefined) {
    const isYoung = migration.status === undefined && seenForMs < PATIENCE_MS;
    if (isYoung && violation.kind === "missing")
      return { steps: [], requeueAfterMs: PATIENCE_MS - seenForMs };
    return {
      ...holdBack(migration, heldBackVoice(violation), now),
      ...(violation.reason === "UnreadableMachines" && { requeueAfterMs: UNREADABLE_RETRY_MS }),
    };
  }
  const power = machine && powerOf(machine);
  const sourceNode = machine?.status?.nodeName;
  if (machine === undefined || sourceNode === undefined || power === undefined) return { steps: [] };
  // It may have been written already; whatever else is true by now, it must not be another one.
  if (promised !== undefined) return accept(facts, promised, power === "on", now);
  const choice = chooseTarget(facts, { isOn: power === "on" });
  if (choice.kind === "none") return holdBack(migration, heldBackVoice(choice.violation), now);
  const flight = { sourceNode, targetNode: choice.nodeName, machineUid: machine.metadata.uid };
  return accept(facts, flight, power === "on", now);
};

const holdBack = (
  migration: VirtualMachineMigration,
  voice: Voice<MigrationPhase>,
  now: Date,
): MigrationDecision => ({
  steps: tell(migration, { voice }, now),
  ...(voice.phase === "Failed" && { outcome: "Failed" }),
});

const accept = (
  { migration }: MigrationFacts,
  flight: Flight,
  live: boolean,
  now: Date,
): MigrationDecision => {
  const { machineUid, ...ends } = flight;
  return {
    promise: flight,
    steps: [
      ...holdFinalizer(migration, ...FINALIZERS),
      ...tell(migration, { ends, machineUid, live, voice: acceptedVoice(ends) }, now),
    ],
  };
};

/** One that has been accepted is the agents', but for what they cannot decide. */
const decideCustody = (facts: MigrationFacts, ends: Ends, now: Date): MigrationDecision => {
  const { migration } = facts;
  const { machineUid, live, phase } = migration.status ?? {};
  const voice = voiceFor(facts, ends, now);
  const steps = tell(migration, { ends, machineUid, live, voice }, now);
  if (phase !== "Preparing") return { steps };
  return { steps, requeueAfterMs: Math.max(1, timeLeftMs(migration, now)) };
};

const voiceFor = (facts: MigrationFacts, ends: Ends, now: Date): Voice<MigrationPhase> | undefined => {
  switch (facts.migration.status?.phase) {
    case "Copying":
      return voiceWhileCopying(facts, ends);
    case "Switching":
      return voiceWhileSwitching(facts, ends);
    default:
      return voiceWhilePreparing(facts, ends, now);
  }
};

/** Nothing has begun yet: whatever is in the way ends it, and the machine is where it was. */
const voiceWhilePreparing = (
  { migration, machine, source, target }: MigrationFacts,
  ends: Ends,
  now: Date,
): Voice<MigrationPhase> | undefined => {
  const { sourceNode, targetNode } = ends;
  if (migration.metadata.deletionTimestamp !== undefined)
    return cancelledVoice("Deleted", `The migration was deleted; the machine stays on node ${sourceNode}.`);
  if (machine === undefined || machine.metadata.deletionTimestamp !== undefined)
    return cancelledVoice("MachineTerminating", "The machine is being deleted.");
  if (source === undefined || isLost(source))
    return failedVoice("NodeLost", `Node ${sourceNode}, which has the machine, gives no sign of life.`);
  if (target === undefined || isLost(target))
    return failedVoice(
      "TargetLost",
      `Node ${targetNode} gives no sign of life. The machine stays on node ${sourceNode}.`,
    );
  if (timeLeftMs(migration, now) > 0) return undefined;
  return failedVoice(
    "TimedOut",
    `Node ${targetNode} was not ready within ${migration.spec.timeoutSeconds} s (spec.timeoutSeconds). The machine stays on node ${sourceNode}.`,
  );
};

/** Counted from the acceptance, in ms. */
const timeLeftMs = ({ spec, status }: VirtualMachineMigration, now: Date): number => {
  const accepted = findCondition(status?.conditions, ACCEPTED)?.lastTransitionTime;
  const since = accepted === undefined ? now.getTime() : Date.parse(accepted);
  return since + spec.timeoutSeconds * 1000 - now.getTime();
};

/**
 * The guest is at the source, whose agent decides, also about a target that is
 * silent. When the source is certainly
 * off, nobody is left to do so: the target must not go on alone, since it
 * may let the guest go on only after Copying has become Switching.
 */
const voiceWhileCopying = (
  { migration, source }: MigrationFacts,
  { sourceNode }: Ends,
): Voice<MigrationPhase> | undefined => {
  if (isGone(source)) return failedVoice("SourceGone", `Node ${sourceNode}, which had the machine, is gone.`);
  if (source !== undefined && isLost(source))
    return silentVoice(silence(sourceNode, "The guest may run there."));
  return followingVoice(migration);
};

const silence = (nodeName: string, consequence: string): string =>
  `Node ${nodeName} gives no sign of life. ${consequence}`;

/**
 * The guest stands still at the source, and may run at the target. When the
 * target is certainly off, it runs nowhere, and the machine goes back:
 *
 * - Disks that only the source has are as they were when the guest stood still
 *   there, and so is its memory: it goes on from that moment.
 * - Disks in shared pools may have been written by the guest at the target since.
 *   To go on with the memory of before would destroy them. When all are shared
 *   the machine belongs to the target, from which it is brought back like any
 *   other of a node that is out of service: started anew.
 * - With disks of both kinds there is no state that fits together.
 */
const voiceWhileSwitching = (facts: MigrationFacts, ends: Ends): Voice<MigrationPhase> | undefined => {
  const { migration, target } = facts;
  const { targetNode } = ends;
  if (isGone(target)) return voiceWithoutTarget(facts, ends);
  if (target !== undefined && isLost(target))
    return silentVoice(
      silence(
        targetNode,
        `Only that node knows whether the guest runs there. If it is certainly switched off, set spec.outOfService of Hypervisor ${targetNode}.`,
      ),
    );
  return followingVoice(migration);
};

const voiceWithoutTarget = (
  { machine, source, target, givenVolumes }: MigrationFacts,
  { sourceNode, targetNode }: Ends,
): Voice<MigrationPhase> => {
  const failedBack = failedVoice(
    "TargetGone",
    `Node ${targetNode} is gone. The guest goes on at node ${sourceNode} as it was when it left.`,
  );
  if (machine === undefined) return failedBack;
  const { shared, local } = sortDisks({ machine, givenVolumes, hypervisor: source });
  if (shared.length === 0) return failedBack;
  if (local.length > 0)
    return silentVoice(
      `Node ${targetNode} is gone. The guest may have written there to ${namesOf(shared)}, which are shared, and not to ${namesOf(local)} on node ${sourceNode}: they do not fit together any more. Delete the machine, or bring the node back.`,
    );
  if (target === undefined)
    return silentVoice(
      `There is no Hypervisor ${targetNode} any more, and the guest may have written there to its disks, which are shared. Make the Hypervisor again with spec.outOfService: the machine is then started anew on another node.`,
    );
  return {
    phase: "Succeeded",
    drafts: ready(
      "TargetGone",
      `The machine was handed over to node ${targetNode}, which is out of service; it is started anew elsewhere.`,
    ),
    isTrouble: false,
  };
};

const namesOf = (disks: readonly { readonly name: string }[]): string =>
  disks.map(({ name }) => name).join(", ");

/**
 * It is over. The first finalizer goes when the machine's status names the node
 * that it has led to; the second when the other node has nothing left of it.
 */
const settle = (facts: MigrationFacts, ends: Ends, now: Date): MigrationDecision => {
  const { migration, machine } = facts;
  const { machineUid, live, phase } = migration.status ?? {};
  const steps = tell(migration, { ends, machineUid, live, voice: followingVoice(migration) }, now);
  const isThere = machine === undefined || machine.status?.nodeName === homeOf(migration);
  const isCounted = !(migration.metadata.finalizers ?? []).includes(MIGRATION_FINALIZER);
  const isEnding = isThere && !isCounted;
  const release = dropFinalizer(
    migration,
    ...(isThere ? [MIGRATION_FINALIZER] : []),
    ...(isReleased(facts) ? [LEFTOVERS_FINALIZER] : []),
  );
  return {
    steps: [...steps, ...(isEnding ? announceFailure(migration) : []), ...release],
    ...(isEnding && phase !== undefined && { outcome: phase }),
  };
};

/** What an agent has given as the reason, once. */
const announceFailure = ({ status }: VirtualMachineMigration): readonly MigrationStep[] => {
  const ready = findCondition(status?.conditions, "Ready");
  if (status?.phase !== "Failed" || ready === undefined) return [];
  return [announce("Warning", ready.reason, ready.message)];
};

/** A node that is gone for good is not waited for. */
const isReleased = ({ migration, source, target }: MigrationFacts): boolean =>
  isTrue(migration.status?.conditions, RELEASED) ||
  (migration.status?.phase === "Succeeded" ? source : target) === undefined;
