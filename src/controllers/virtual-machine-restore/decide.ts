import { RESTORE_FINALIZER, type RestorePhase } from "../../api/virtual-machine-restore.ts";
import { PATIENCE_MS } from "../acquaintance.ts";
import { announce, type Decision, dropFinalizer, holdFinalizer, type Step } from "../steps.ts";
import { acceptedVoice, heldBackVoice } from "../virtual-machine-snapshot/status.ts";
import { isOver } from "../virtual-machine-snapshot/turn.ts";
import { say, silenceOf, spokenStatus, type Voice } from "../voice.ts";
import { findViolation } from "./checks.ts";
import type { RestoreFacts } from "./observe.ts";
import { ownParts, type RestoreStatus } from "./status.ts";

export type RestoreDecision = Decision<RestoreStatus>;
type RestoreStep = Step<RestoreStatus>;

/**
 * What to do about a restore. Pure: once it is carried out there is nothing more
 * to do. One that is over is never begun again, whatever changes.
 */
export const decideRestore = (facts: RestoreFacts, now: Date): RestoreDecision => {
  const { restore } = facts;
  if (isOver(restore)) return { steps: dropFinalizer(restore, RESTORE_FINALIZER) };
  return restore.status?.nodeName === undefined
    ? decideAcceptance(facts, now)
    : { steps: decideCustody(facts, now) };
};

/** What the controller alone says, with a voice where it speaks in the agent's place. */
interface Word {
  readonly nodeName?: string | undefined;
  readonly machineUid?: string | undefined;
  readonly snapshotUid?: string | undefined;
  readonly voice: Voice<RestorePhase> | undefined;
}

const tell = (
  { restore }: RestoreFacts,
  { nodeName, machineUid, snapshotUid, voice }: Word,
  now: Date,
): readonly RestoreStep[] => {
  const status: RestoreStatus = {
    ...(nodeName !== undefined && { nodeName }),
    ...(machineUid !== undefined && { machineUid }),
    ...(snapshotUid !== undefined && { snapshotUid }),
    ...spokenStatus(restore, voice, [], now),
  };
  const isTrouble = voice?.isTrouble ?? false;
  return say(restore, status, { own: ownParts(restore.status?.nodeName), isTrouble });
};

/** The finalizer comes first: once the node has begun, the machine is not free for anything else. */
const decideAcceptance = (facts: RestoreFacts, now: Date): RestoreDecision => {
  const { restore, machine, snapshot, seenForMs } = facts;
  const violation = findViolation(facts);
  if (violation !== undefined) {
    const isYoung = restore.status === undefined && seenForMs < PATIENCE_MS;
    if (isYoung && violation.kind === "missing")
      return { steps: [], requeueAfterMs: PATIENCE_MS - seenForMs };
    return { steps: tell(facts, { voice: heldBackVoice(violation) }, now) };
  }
  const nodeName = machine?.status?.nodeName;
  if (machine === undefined || snapshot === undefined || nodeName === undefined)
    throw new Error("accepted before its checks have passed");
  const pins = { nodeName, machineUid: machine.metadata.uid, snapshotUid: snapshot.metadata.uid };
  return {
    steps: [
      ...holdFinalizer(restore, RESTORE_FINALIZER),
      ...tell(facts, { ...pins, voice: acceptedVoice(nodeName) }, now),
    ],
  };
};

/**
 * Deleted or not, what a node has begun it brings to an end. From then on the
 * status is what a fresh agent goes on from: nothing is said in it for a node
 * that does not answer; the machine's status tells.
 */
const decideCustody = (facts: RestoreFacts, now: Date): readonly RestoreStep[] => {
  const { restore, machine, hypervisor } = facts;
  const { machineUid, snapshotUid } = restore.status ?? {};
  const nodeName = machine?.status?.nodeName ?? restore.status?.nodeName ?? "";
  if (hypervisor === undefined && restore.metadata.deletionTimestamp !== undefined)
    return abandon(facts, nodeName);
  const voice =
    restore.status?.phase === "InProgress"
      ? undefined
      : silenceOf<RestorePhase>(
          { nodeName, hypervisor },
          { whenSilent: "It begins when the node is back.", whenGone: "Delete the restore." },
        );
  return [
    ...holdFinalizer(restore, RESTORE_FINALIZER),
    ...tell(facts, { nodeName, machineUid, snapshotUid, voice }, now),
  ];
};

/** The administrator has deleted the Hypervisor: the node is gone for good, and what was on it. */
const abandon = ({ restore }: RestoreFacts, nodeName: string): readonly RestoreStep[] => [
  announce(
    "Warning",
    "NodeRemoved",
    `There is no Hypervisor ${nodeName} any more, so that the restore is let go in the middle.`,
  ),
  ...dropFinalizer(restore, RESTORE_FINALIZER),
];
