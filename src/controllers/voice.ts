import { type Condition, findCondition } from "../api/condition.ts";
import type { Hypervisor } from "../api/hypervisor.ts";
import type { KubernetesObject } from "../api/meta.ts";
import { announceTrouble } from "./announce.ts";
import { type Draft, draftOf, notReady, observed, stalled } from "./conditions.ts";
import { isLost } from "./hypervisor/status.ts";
import { isSameStatus } from "./status-writer.ts";
import type { Step } from "./steps.ts";

/**
 * Volumes, snapshots and restores have a status with two writers. phase,
 * observedGeneration and Ready are the agent's of the node; the controller says
 * them until the agent's first word, and while the node does not answer.
 */

/** What the controller says in the agent's place. */
export interface Voice<Phase extends string> {
  /** Absent: the stored one stays. */
  readonly phase?: Phase;
  readonly drafts: readonly Draft[];
  /** Whether people should hear of it. */
  readonly isTrouble: boolean;
}

/** The part of a status that controller and agent take turns to say. */
export interface SpokenStatus<Phase extends string> {
  readonly phase?: Phase;
  readonly observedGeneration?: number;
  readonly conditions: readonly Condition[];
}

interface Spoken<Phase extends string> extends KubernetesObject {
  readonly status?:
    | {
        readonly phase?: Phase | undefined;
        readonly observedGeneration?: number | undefined;
        readonly conditions?: readonly Condition[] | undefined;
      }
    | undefined;
}

/** The object is worked on, or waits for something that may come. */
export const waiting = <Phase extends string>(
  phase: Phase,
  reason: string,
  message: string,
): Voice<Phase> => ({ phase, drafts: notReady(reason, message), isTrouble: false });

/** Something is wrong that may pass by itself. */
export const troubled = <Phase extends string>(
  phase: Phase,
  reason: string,
  message: string,
): Voice<Phase> => ({ phase, drafts: notReady(reason, message), isTrouble: true });

/** Only a person can help. */
export const failed = <Phase extends string>(
  phase: Phase,
  reason: string,
  message: string,
): Voice<Phase> => ({ phase, drafts: stalled(reason, message), isTrouble: true });

/** Reason of Ready=Unknown while the node gives no sign of life, or is gone for good. */
export const NODE_LOST = "NodeLost";

/**
 * What is said for a node that does not answer; undefined for one that does, which
 * speaks for itself. When it is back, its agent sees words that are not its own,
 * and says its own again.
 */
export const silenceOf = <Phase extends string>(
  { nodeName, hypervisor }: { readonly nodeName: string; readonly hypervisor: Hypervisor | undefined },
  {
    phase,
    whenSilent,
    whenGone,
  }: { readonly phase?: Phase; readonly whenSilent: string; readonly whenGone: string },
): Voice<Phase> | undefined => {
  if (hypervisor !== undefined && !isLost(hypervisor)) return undefined;
  const message =
    hypervisor === undefined
      ? `There is no Hypervisor ${nodeName} any more. ${whenGone}`
      : `Node ${nodeName} gives no sign of life. ${whenSilent}`;
  return {
    ...(phase !== undefined && { phase }),
    drafts: [draftOf("Ready", "Unknown", NODE_LOST, message)],
    isTrouble: true,
  };
};

/**
 * phase, observedGeneration and conditions for an apply of the controller's.
 * Without a voice the stored words are repeated as they are: leaving out what the
 * controller was the last to say would take it away before the agent has said
 * anything, and what the agent has said in the meantime stays the agent's.
 *
 * @param own conditions that the controller alone says
 */
export const spokenStatus = <Phase extends string>(
  object: Spoken<Phase>,
  voice: Voice<Phase> | undefined,
  own: readonly Draft[],
  now: Date,
): SpokenStatus<Phase> => {
  const { phase, observedGeneration, conditions } = object.status ?? {};
  const ownConditions = observed(object, own, now).conditions;
  if (voice !== undefined) {
    const said = observed(object, voice.drafts, now);
    const saidPhase = voice.phase ?? phase;
    return {
      ...(saidPhase !== undefined && { phase: saidPhase }),
      observedGeneration: said.observedGeneration,
      conditions: [...said.conditions, ...ownConditions],
    };
  }
  const ready = findCondition(conditions, "Ready");
  return {
    ...(phase !== undefined && { phase }),
    ...(observedGeneration !== undefined && { observedGeneration }),
    conditions: [...(ready === undefined ? [] : [ready]), ...ownConditions],
  };
};

/** Was the node of a deleted object told that nobody needs it any more? It acts upon that, so it is said once and for all. */
export const isGivenUp = (conditions: readonly Condition[] | undefined): boolean =>
  findCondition(conditions, "InUse")?.status === "False";

/** What of a status is the controller's alone. */
export interface OwnParts {
  readonly fields: readonly string[];
  readonly conditions: readonly string[];
}

/**
 * The steps that make the status say this, and tell people of trouble; none when
 * it is said already. What is the agent's does not count.
 */
export const say = <Status extends SpokenStatus<string>>(
  object: Spoken<string>,
  status: Status,
  { own, isTrouble }: { readonly own: OwnParts; readonly isTrouble: boolean },
): readonly Step<Status>[] => {
  if (isSaid(object.status, status, own)) return [];
  const trouble = isTrouble ? announceTrouble("Ready", object.status?.conditions, status.conditions) : [];
  return [
    { kind: "apply-status", status },
    ...trouble.map((announcement) => ({ kind: "announce", announcement }) as const),
  ];
};

const isSaid = (stored: Spoken<string>["status"], wanted: SpokenStatus<string>, own: OwnParts): boolean => {
  if (stored === undefined) return false;
  const names = new Set<string>([...own.fields, "phase", "observedGeneration"]);
  const types = new Set([...own.conditions, ...wanted.conditions.map(({ type }) => type)]);
  const said = Object.fromEntries(Object.entries(stored).filter(([name]) => names.has(name)));
  const conditions = (stored.conditions ?? []).filter(({ type }) => types.has(type));
  return isSameStatus({ ...said, conditions }, wanted);
};
