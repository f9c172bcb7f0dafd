import { findCondition, isTrue } from "../../api/condition.ts";
import {
  SNAPSHOT_FINALIZER,
  type SnapshotPhase,
  type VirtualMachineSnapshot,
} from "../../api/virtual-machine-snapshot.ts";
import { PATIENCE_MS } from "../acquaintance.ts";
import type { Draft } from "../conditions.ts";
import { announce, type Decision, dropFinalizer, holdFinalizer, type Step } from "../steps.ts";
import { isGivenUp, NODE_LOST, say, silenceOf, spokenStatus, type Voice } from "../voice.ts";
import { findViolation } from "./checks.ts";
import type { SnapshotFacts } from "./observe.ts";
import {
  acceptedVoice,
  heldBackVoice,
  ownParts,
  recoveredVoice,
  type SnapshotStatus,
  useDraft,
} from "./status.ts";

export type SnapshotDecision = Decision<SnapshotStatus>;
type SnapshotStep = Step<SnapshotStatus>;

/** What to do about a snapshot. Pure: once it is carried out there is nothing more to do. */
export const decideSnapshot = (facts: SnapshotFacts, now: Date): SnapshotDecision => {
  const { metadata, status } = facts.snapshot;
  if (metadata.deletionTimestamp !== undefined) return { steps: decideRemoval(facts, now) };
  if (status?.nodeName !== undefined) return { steps: decideCustody(facts, now) };
  // One that was refused stays so: it must not be taken at a moment that nobody expects.
  return status?.phase === "Failed" ? { steps: [] } : decideAcceptance(facts, now);
};

/** What the controller alone says, with a voice where it speaks in the agent's place. */
interface Word {
  readonly nodeName?: string | undefined;
  readonly machineUid?: string | undefined;
  readonly voice: Voice<SnapshotPhase> | undefined;
  readonly own?: readonly Draft[];
}

const tell = (
  { snapshot }: SnapshotFacts,
  { nodeName, machineUid, voice, own = [] }: Word,
  now: Date,
): readonly SnapshotStep[] => {
  const status: SnapshotStatus = {
    ...(nodeName !== undefined && { nodeName }),
    ...(machineUid !== undefined && { machineUid }),
    ...spokenStatus(snapshot, voice, own, now),
  };
  const isTrouble = voice?.isTrouble ?? false;
  return say(snapshot, status, { own: ownParts(snapshot.status?.nodeName), isTrouble });
};

/** The finalizer comes first: from the moment the node is written something may exist on it. */
const decideAcceptance = (facts: SnapshotFacts, now: Date): SnapshotDecision => {
  const { snapshot, machine, seenForMs } = facts;
  const violation = findViolation(facts);
  if (violation !== undefined) {
    const isYoung = snapshot.status === undefined && seenForMs < PATIENCE_MS;
    if (isYoung && violation.kind === "missing")
      return { steps: [], requeueAfterMs: PATIENCE_MS - seenForMs };
    return { steps: tell(facts, { voice: heldBackVoice(violation) }, now) };
  }
  const nodeName = machine?.status?.nodeName;
  if (machine === undefined || nodeName === undefined)
    throw new Error("accepted before its checks have passed");
  const voice = acceptedVoice(nodeName);
  return {
    steps: [
      ...holdFinalizer(snapshot, SNAPSHOT_FINALIZER),
      ...tell(facts, { nodeName, machineUid: machine.metadata.uid, voice }, now),
    ],
  };
};

/** A snapshot is where its machine's disks are; without the machine it stays where it is. */
const standingOf = ({ snapshot, machine, hypervisor }: SnapshotFacts) => ({
  nodeName: machine?.status?.nodeName ?? snapshot.status?.nodeName ?? "",
  machineUid: snapshot.status?.machineUid,
  hypervisor,
});

const decideCustody = (facts: SnapshotFacts, now: Date): readonly SnapshotStep[] => {
  const { snapshot } = facts;
  const standing = standingOf(facts);
  const voice =
    silenceAbout(snapshot, standing, {
      whenSilent: "The snapshot is there as far as is known.",
      whenGone: "The snapshot was on that node. Delete it.",
    }) ?? (isBack(snapshot, standing) ? recoveredVoice(snapshot) : undefined);
  return [...holdFinalizer(snapshot, SNAPSHOT_FINALIZER), ...tell(facts, { ...standing, voice }, now)];
};

type Standing = ReturnType<typeof standingOf>;

/**
 * What is said while the node does not answer. Not of a snapshot that is being
 * taken: its status is what a fresh agent goes on from. And what has failed has
 * nothing on the node that could be lost with it.
 */
const silenceAbout = (
  { status }: VirtualMachineSnapshot,
  standing: Standing,
  words: { readonly whenSilent: string; readonly whenGone: string },
): Voice<SnapshotPhase> | undefined =>
  status?.phase === "InProgress" || status?.phase === "Failed"
    ? undefined
    : silenceOf(standing, { ...(status?.takenAt !== undefined && { phase: "Unknown" }), ...words });

/** An agent that was started again does not look at what was taken before; so the controller takes its words back. */
const isBack = ({ status }: VirtualMachineSnapshot, { hypervisor }: Standing): boolean =>
  hypervisor !== undefined &&
  status?.takenAt !== undefined &&
  findCondition(status.conditions, "Ready")?.reason === NODE_LOST;

/** A deleted snapshot stays while it is read from. Then its node is told, merges what it kept apart, and says Released. */
const decideRemoval = (facts: SnapshotFacts, now: Date): readonly SnapshotStep[] => {
  const { snapshot, users } = facts;
  const { status, metadata } = snapshot;
  if (!metadata.finalizers?.includes(SNAPSHOT_FINALIZER)) return [];
  const isReleased = isTrue(status?.conditions, "Released");
  if (isReleased || status?.nodeName === undefined) return dropFinalizer(snapshot, SNAPSHOT_FINALIZER);
  const standing = standingOf(facts);
  if (standing.hypervisor === undefined) return abandon(facts, standing.nodeName);
  const voice = silenceAbout(snapshot, standing, {
    whenSilent: `The snapshot cannot be removed; that is done when the node is back. If it is gone for good, delete Hypervisor ${standing.nodeName}.`,
    whenGone: "The snapshot was on that node.",
  });
  const draft = useDraft(isGivenUp(status.conditions) ? [] : users);
  const isNews = draft.status === "True" && findCondition(status.conditions, "InUse")?.status !== "True";
  return [
    ...tell(facts, { ...standing, voice, own: [draft] }, now),
    ...(isNews ? [announce("Warning", "InUse", draft.message)] : []),
  ];
};

/** The administrator has deleted the Hypervisor: the node is gone for good, and what was on it. */
const abandon = ({ snapshot }: SnapshotFacts, nodeName: string): readonly SnapshotStep[] => [
  announce(
    "Warning",
    "NodeRemoved",
    `There is no Hypervisor ${nodeName} any more, so that the snapshot is let go without a clean-up of that node.`,
  ),
  ...dropFinalizer(snapshot, SNAPSHOT_FINALIZER),
];
