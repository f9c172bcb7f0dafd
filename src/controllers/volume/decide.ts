import { findCondition, isTrue } from "../../api/condition.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { VOLUME_FINALIZER, type VolumePhase } from "../../api/volume.ts";
import { PATIENCE_MS } from "../acquaintance.ts";
import type { Draft } from "../conditions.ts";
import { announce, type Decision, dropFinalizer, holdFinalizer, type Step } from "../steps.ts";
import { passing, type Violation } from "../virtual-machine/violation.ts";
import { isGivenUp, say, silenceOf, spokenStatus, type Voice } from "../voice.ts";
import { has, names, type Reservation, reservationOf } from "./judge.ts";
import type { VolumeFacts } from "./observe.ts";
import { judgeOrigin } from "./origin.ts";
import { firstPlace, presentPlace } from "./place.ts";
import {
  ownParts,
  provisioningVoice,
  unclaimedVoice,
  unusableVoice,
  useDraft,
  type VolumeStatus,
} from "./status.ts";

export type VolumeDecision = Decision<VolumeStatus>;
type VolumeStep = Step<VolumeStatus>;

/** Nobody tells when an object that could not be understood can be again. */
const UNREADABLE_RETRY_MS = 30_000;

/** What to do about a Volume. Pure: once it is carried out there is nothing more to do. */
export const decideVolume = (facts: VolumeFacts, now: Date): VolumeDecision => {
  const { metadata, status } = facts.volume;
  if (metadata.deletionTimestamp !== undefined) return decideRemoval(facts, now);
  const decision = status?.nodeName === undefined ? decideFirstPlace(facts, now) : decideCustody(facts, now);
  return { ...decision, steps: [...holdFinalizer(facts.volume, VOLUME_FINALIZER), ...decision.steps] };
};

/** What the controller alone says, with a voice where it speaks in the agent's place. */
interface Word {
  readonly nodeName?: string | undefined;
  readonly allocation?: VolumeStatus["allocation"] | undefined;
  readonly attachedTo: Reservation | undefined;
  readonly voice: Voice<VolumePhase> | undefined;
  readonly own?: readonly Draft[];
}

const tell = (
  { volume }: VolumeFacts,
  { nodeName, allocation, attachedTo, voice, own = [] }: Word,
  now: Date,
): readonly VolumeStep[] => {
  const status: VolumeStatus = {
    ...(nodeName !== undefined && { nodeName }),
    ...(allocation !== undefined && { allocation }),
    ...(attachedTo !== undefined && { attachedTo }),
    ...spokenStatus(volume, voice, own, now),
  };
  const isTrouble = voice?.isTrouble ?? false;
  const steps = say(volume, status, { own: ownParts(volume.status?.nodeName), isTrouble });
  const isNew = attachedTo !== undefined && attachedTo.uid !== volume.status?.attachedTo?.uid;
  if (steps.length === 0 || !isNew) return steps;
  return [...steps, announce("Normal", "Reserved", `Reserved for VirtualMachine ${attachedTo.name}.`)];
};

/**
 * Where the Volume is made. It is reserved for nobody new before its source has
 * decided about the node: a machine that was given it meanwhile would be placed
 * anywhere, and the two would never come together.
 */
const decideFirstPlace = (facts: VolumeFacts, now: Date): VolumeDecision => {
  const { volume, hypervisors, seenForMs } = facts;
  const attachedTo = reservationOf(facts);
  const kept = attachedTo?.uid === volume.status?.attachedTo?.uid ? attachedTo : undefined;
  const verdict = judgeOrigin(volume, facts.origin);
  if (verdict.kind === "unusable") {
    const isYoung = volume.status === undefined && seenForMs < PATIENCE_MS;
    if (isYoung && verdict.violation.kind === "missing")
      return { steps: [], requeueAfterMs: PATIENCE_MS - seenForMs };
    return { steps: tell(facts, { attachedTo: kept, voice: unusableVoice(verdict.violation) }, now) };
  }
  const holder = machineOf(facts, attachedTo);
  const place = firstPlace({ volume, holder, hypervisors }, verdict.origin);
  switch (place.kind) {
    case "first-consumer":
      return { steps: tell(facts, { attachedTo, voice: unclaimedVoice(attachedTo) }, now) };
    case "unusable": {
      const isFixed = verdict.origin.nodeName !== undefined;
      const voice = unusableVoice(place.violation);
      return { steps: tell(facts, { attachedTo: isFixed ? kept : attachedTo, voice }, now) };
    }
    case "node": {
      const { nodeName } = place;
      const { allocation } = verdict.origin;
      const voice = provisioningVoice(nodeName);
      return { steps: tell(facts, { nodeName, allocation, attachedTo, voice }, now) };
    }
  }
};

const machineOf = (
  { machines }: VolumeFacts,
  reservation: Reservation | undefined,
): VirtualMachine | undefined => machines.find(({ metadata }) => metadata.uid === reservation?.uid);

/** A Volume on a node belongs to the node's agent; the controller says whose it is, and watches over both. */
const decideCustody = (facts: VolumeFacts, now: Date): VolumeDecision => {
  const standing = standingOf(facts);
  const voice = silenceOf(standing, {
    phase: "Unknown",
    whenSilent: "The data are safe there as far as is known.",
    whenGone: "The data were on that node. Delete the Volume.",
  });
  return { steps: tell(facts, { ...standing, voice }, now) };
};

/** Where a Volume that has a node is, and whose. */
const standingOf = (facts: VolumeFacts) => {
  const { volume, hypervisors } = facts;
  const attachedTo = reservationOf(facts);
  const holder = machineOf(facts, attachedTo);
  const nodeName = presentPlace({ volume, holder, hypervisors }, volume.status?.nodeName ?? "");
  return {
    nodeName,
    allocation: volume.status?.allocation,
    attachedTo,
    hypervisor: hypervisors.find(({ metadata }) => metadata.name === nodeName),
  };
};

/**
 * A Volume that is to go stays as it is while somebody needs it. Then its node
 * is told, does with the data as deletionPolicy says, and says Released.
 */
const decideRemoval = (facts: VolumeFacts, now: Date): VolumeDecision => {
  const { volume, unreadableMachines } = facts;
  if (!volume.metadata.finalizers?.includes(VOLUME_FINALIZER)) return { steps: [] };
  if (isTrue(volume.status?.conditions, "Released")) return { steps: letGo(facts) };
  const obstacle = obstacleOf(facts);
  if (obstacle !== undefined) {
    const word = { ...placedPart(facts), own: [useDraft(obstacle)] };
    return {
      steps: [...tell(facts, word, now), ...announceObstacle(facts, obstacle)],
      ...(unreadableMachines > 0 && { requeueAfterMs: UNREADABLE_RETRY_MS }),
    };
  }
  if (volume.status?.nodeName === undefined) return { steps: letGo(facts) };
  const { hypervisor, nodeName } = standingOf(facts);
  if (hypervisor === undefined) return { steps: abandon(facts, nodeName) };
  return { steps: tell(facts, { ...placedPart(facts), own: [useDraft(undefined)] }, now) };
};

const placedPart = (facts: VolumeFacts): Word => {
  const { nodeName } = facts.volume.status ?? {};
  if (nodeName === undefined) return { attachedTo: reservationOf(facts), voice: undefined };
  const standing = standingOf(facts);
  const voice = silenceOf(standing, {
    phase: "Unknown",
    whenSilent: `The data cannot be removed; that is done when the node is back. If it is gone for good, delete Hypervisor ${standing.nodeName}.`,
    whenGone: "The data were on that node.",
  });
  return { ...standing, voice };
};

/** Machines that a message names; the rest is counted. */
const MAX_NAMED = 5;

/**
 * Why a Volume that is to go has to stay, and what to do about it. There is no way
 * back once its node was told: it may have begun to remove the data.
 */
const obstacleOf = (facts: VolumeFacts): Violation | undefined => {
  const { volume, machines, copies, unreadableMachines } = facts;
  if (isGivenUp(volume.status?.conditions)) return undefined;
  const reserved = reservationOf(facts)?.name;
  const users = machines
    .filter((machine) => has(machine, volume) || names(machine, volume))
    .map(({ metadata }) => metadata.name);
  const all = [...new Set([...(reserved === undefined ? [] : [reserved]), ...users])];
  if (all.length > 0)
    return passing(
      "Attached",
      `It goes when no machine has or names it any more: ${listed(all)}. Take it out of spec.volumes there.`,
    );
  if (copies.length > 0)
    return passing("BeingCopied", `It goes when what is being made out of it is there: ${listed(copies)}.`);
  if (unreadableMachines === 0) return undefined;
  return passing(
    "UnreadableMachines",
    `It is kept, because the controller cannot understand ${unreadableMachines === 1 ? "a machine" : `${unreadableMachines} machines`} of the namespace and so does not know whether one of them needs it; its log says more. Is it older than the CustomResourceDefinitions?`,
  );
};

const listed = (all: readonly string[]): string => {
  const rest = all.length - MAX_NAMED;
  return `${all.slice(0, MAX_NAMED).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
};

/** Once for each reason. */
const announceObstacle = ({ volume }: VolumeFacts, { reason, message }: Violation): readonly VolumeStep[] =>
  findCondition(volume.status?.conditions, "InUse")?.reason === reason
    ? []
    : [announce("Warning", "InUse", message)];

const letGo = ({ volume }: VolumeFacts): readonly VolumeStep[] => {
  const { nodeName } = volume.status ?? {};
  const isKept = volume.spec.deletionPolicy === "Retain" && nodeName !== undefined;
  const notice = announce(
    "Normal",
    "Retained",
    `The data stay on node ${nodeName}. A Volume of this namespace gets them with spec.source.retained: ${volume.metadata.uid}.`,
  );
  return [...(isKept ? [notice] : []), ...dropFinalizer(volume, VOLUME_FINALIZER)];
};

/** The administrator has deleted the Hypervisor: the node is gone for good, and what was on it. */
const abandon = ({ volume }: VolumeFacts, nodeName: string): readonly VolumeStep[] => [
  announce(
    "Warning",
    "NodeRemoved",
    `There is no Hypervisor ${nodeName} any more, so that the Volume is let go without a clean-up of that node.`,
  ),
  ...dropFinalizer(volume, VOLUME_FINALIZER),
];
