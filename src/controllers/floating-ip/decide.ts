import { FLOATING_IP_FINALIZER, type FloatingIp, type FloatingIpClaim } from "../../api/floating-ip.ts";
import { findCondition } from "../../api/condition.ts";
import { type Announcement, announceTrouble } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import { chooseAddress } from "./address.ts";
import { chooseClaim, type ClaimChoice } from "./claim.ts";
import { type FloatingIpFacts, NOT_TAKEN_MS } from "./observe.ts";
import {
  addressedStatus,
  type FloatingIpStatus,
  leavingStatus,
  MOVING,
  unaddressedStatus,
} from "./status.ts";

export type FloatingIpStep =
  /** The list as it is to be. */
  | { readonly kind: "write-finalizers"; readonly finalizers: readonly string[] }
  | { readonly kind: "apply-status"; readonly status: FloatingIpStatus }
  /** The node that is said to answer is silent, and what it had has run out. */
  | { readonly kind: "clear-holder" }
  /** For the metrics: the address was taken from one machine and given to another. */
  | { readonly kind: "count-failover"; readonly reason: string; readonly causedAt: number }
  /** For the metrics: the node of the claim answers. */
  | { readonly kind: "finish-failover"; readonly causedAt: number }
  /** For the metrics: nobody is to answer any more, so that nobody is waited for. */
  | { readonly kind: "abandon-failover" }
  | { readonly kind: "announce"; readonly announcement: Announcement };

export interface FloatingIpDecision {
  /** In this order; a later one is not taken when an earlier one fails. */
  readonly steps: readonly FloatingIpStep[];
  /** To be held before anything else happens, so that nobody else is given the same address. */
  readonly reserve?: string;
  /** Look again after this time, in ms, if nothing changes before. */
  readonly requeueAfterMs?: number;
}

/** Nobody tells when an object that could not be understood can be again. */
const UNREADABLE_RETRY_MS = 30_000;

/**
 * What to do about a FloatingIP. Pure: the same facts give the same decision,
 * and once it is carried out there is nothing more to do.
 */
export const decideFloatingIp = (facts: FloatingIpFacts, now: Date): FloatingIpDecision => {
  const { floatingIp, address, rival } = facts;
  if (floatingIp.metadata.deletionTimestamp !== undefined) return decideRelease(facts, now);
  const chosen = chooseAddress(floatingIp, address);
  if (chosen.kind === "none") {
    const steps = say(facts, unaddressedStatus(facts, chosen, now));
    return { steps, ...(address.unreadable > 0 && { requeueAfterMs: UNREADABLE_RETRY_MS }) };
  }
  const choice: ClaimChoice =
    rival?.isOlder === true ? { claim: undefined, isHealthy: false } : chooseClaim(floatingIp, facts);
  const steps = [
    ...hold(facts),
    ...say(facts, addressedStatus(facts, chosen.address, choice, now)),
    ...announceMove(floatingIp, chosen.address, choice),
    ...measure(facts, choice),
    ...clearHolder(facts),
  ];
  return {
    steps,
    ...(chosen.isNew && { reserve: chosen.address }),
    ...lookAgain(facts),
  };
};

/** The finalizer comes first: from the moment that an address is written a node may answer for it. */
const hold = ({ floatingIp: { metadata }, isHeld }: FloatingIpFacts): readonly FloatingIpStep[] =>
  isHeld
    ? []
    : [{ kind: "write-finalizers", finalizers: [...(metadata.finalizers ?? []), FLOATING_IP_FINALIZER] }];

/** A FloatingIP that is to be deleted keeps its address until no node answers for it. */
const decideRelease = (facts: FloatingIpFacts, now: Date): FloatingIpDecision => {
  const { metadata, status } = facts.floatingIp;
  if (!facts.isHeld) return { steps: [] };
  const isFree = status?.holder === undefined || facts.holderIsFenced;
  const others = (metadata.finalizers ?? []).filter((finalizer) => finalizer !== FLOATING_IP_FINALIZER);
  // A node that takes a claim which is gone a moment later meets a conflict: both writes are bound to a version.
  const withdraw = status?.claim === undefined && isFree ? [] : say(facts, leavingStatus(facts, now));
  return {
    steps: [
      ...withdraw,
      ...clearHolder(facts),
      ...(isFree ? [{ kind: "write-finalizers", finalizers: others } as const] : []),
    ],
  };
};

const clearHolder = ({ holderIsFenced }: FloatingIpFacts): readonly FloatingIpStep[] =>
  holderIsFenced ? [{ kind: "clear-holder" }] : [];

/** Writes a status and tells of trouble, unless the stored status says it all already. */
const say = ({ floatingIp }: FloatingIpFacts, status: FloatingIpStatus): readonly FloatingIpStep[] => {
  const { holder: _, ...stored } = floatingIp.status ?? {};
  if (floatingIp.status !== undefined && isSameStatus(stored, status)) return [];
  const isOnItsWay = findCondition(status.conditions, "Ready")?.reason === MOVING;
  const before = floatingIp.status?.conditions;
  const after = status.conditions ?? [];
  const trouble = [
    ...(isOnItsWay ? [] : announceTrouble("Ready", before, after)),
    ...announceAppearance("AddressConflict", before, after),
    ...announceAppearance("NodePassedOver", before, after),
  ];
  return [{ kind: "apply-status", status }, ...trouble.map(announce)];
};

type Conditions = FloatingIpStatus["conditions"];

/** Conditions that are only there when something is wrong. */
const announceAppearance = (type: string, before: Conditions, after: Conditions): readonly Announcement[] => {
  const now = findCondition(after, type);
  if (now === undefined || findCondition(before, type)?.message === now.message) return [];
  return [{ type: "Warning", reason: type, message: now.message }];
};

const announce = (announcement: Announcement): FloatingIpStep => ({ kind: "announce", announcement });

const announceMove = (
  { status }: FloatingIp,
  address: string,
  { claim, cause }: ClaimChoice,
): readonly FloatingIpStep[] => {
  const held = status?.claim;
  if (held === undefined)
    return claim === undefined ? [] : [tell("Claimed", `${address} goes to ${placeOf(claim)}.`)];
  if (claim === undefined)
    return [tell("Withdrawn", `${address} is taken from ${placeOf(held)}${because(cause)}.`)];
  if (cause !== undefined)
    return [
      tell("FailedOver", `${address} goes from ${placeOf(held)} to ${placeOf(claim)}${because(cause)}.`),
    ];
  if (held.nodeName !== claim.nodeName)
    return [
      tell(
        "Followed",
        `${address} follows ${claim.machine} from node ${held.nodeName} to node ${claim.nodeName}.`,
      ),
    ];
  return [];
};

const tell = (reason: string, message: string): FloatingIpStep =>
  announce({ type: "Normal", reason, message });

const placeOf = ({ machine, nodeName }: FloatingIpClaim): string => `${machine} on node ${nodeName}`;
const because = (cause: ClaimChoice["cause"]): string =>
  cause === undefined ? "" : `, because ${cause.message}`;

const measure = (
  { floatingIp, move, happenedAt }: FloatingIpFacts,
  { claim, cause }: ClaimChoice,
): readonly FloatingIpStep[] => {
  if (claim === undefined) return move === undefined ? [] : [{ kind: "abandon-failover" }];
  if (cause !== undefined) return [{ kind: "count-failover", reason: cause.reason, causedAt: happenedAt }];
  const isThere = floatingIp.status?.holder?.nodeName === claim.nodeName;
  return move !== undefined && isThere ? [{ kind: "finish-failover", causedAt: move.causedAt }] : [];
};

/** What passes by itself: a node's time to take a claim, and the time for which nodes are passed over. */
const lookAgain = ({
  candidates,
  notTakenForMs,
}: FloatingIpFacts): Pick<FloatingIpDecision, "requeueAfterMs"> => {
  const times = candidates.flatMap(({ passedOver }) => passedOver?.forMs ?? []);
  if (notTakenForMs !== undefined && notTakenForMs < NOT_TAKEN_MS) times.push(NOT_TAKEN_MS - notTakenForMs);
  return times.length === 0 ? {} : { requeueAfterMs: Math.min(...times) };
};
