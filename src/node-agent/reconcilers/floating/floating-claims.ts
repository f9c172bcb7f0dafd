import {
  type FloatingIp,
  FLOATING_FENCED_AFTER_MS,
  FLOATING_KERNEL_LATENESS_MS,
  FLOATING_VALID_SECONDS,
} from "../../../api/floating-ip.ts";
import type { FloatingAddress } from "../../floating/types.ts";

/**
 * What this node may do with floating addresses. Pure; docs/design/floating.md
 * has the argument why no two nodes answer for one address.
 */

/** The node's Lease, as of the last renewal that succeeded. */
export interface HeldLease {
  /** Another term: somebody fenced the node in between, and may have given its addresses away. */
  readonly term: string;
  /** When that renewal was begun, on the monotonic clock, in ms. */
  readonly begunAt: number;
}

/** That this node is the holder of an address, by its own write or its predecessor's, in this term of the Lease. */
export interface Confirmation {
  readonly term: string;
  /** UID of the FloatingIP; undefined for an address that a fresh agent found on the device. */
  readonly uid: string | undefined;
}

/** A guest of this node, as far as a floating address can lead to it. */
export interface FloatingTarget {
  readonly machineUid: string;
  readonly guestAddress: string;
  readonly vni: number;
  readonly tap: string;
}

export interface FloatingFacts {
  readonly nodeName: string;
  /** On the monotonic clock, in ms. */
  readonly now: number;
  /** Is every object that concerns this node known? Before that, absence means nothing. */
  readonly inSync: boolean;
  /** Is there an object that cannot be understood? Any address may be its. */
  readonly hasUnreadable: boolean;
  /** FloatingIPs that this node has a claim to or is the holder of, and perhaps others. */
  readonly objects: readonly FloatingIp[];
  /** UIDs of FloatingIPs that are being written. */
  readonly inFlight: ReadonlySet<string>;
  /** Addresses that may be on the device: whatever was put there and not withdrawn since. */
  readonly held: ReadonlySet<string>;
  /** What is translated, by floating address. Undefined: this agent has not done so yet. */
  readonly translated: ReadonlyMap<string, FloatingAddress> | undefined;
  /** The guests of this node; undefined while they are not known. */
  readonly targets: readonly FloatingTarget[] | undefined;
  readonly lease: HeldLease | undefined;
  readonly confirmed: ReadonlyMap<string, Confirmation>;
}

export const withdrawReasons = ["ClaimMoved", "LeaseLost", "GuestGone", "Unknown"] as const;
/**
 * ClaimMoved: the address is to go to a guest elsewhere. LeaseLost: the API
 * server could not be reached for too long, or the node was fenced. GuestGone:
 * the guest is not on this node. Unknown: no FloatingIP has the address.
 */
export type WithdrawReason = (typeof withdrawReasons)[number];

export interface Withdrawal {
  readonly address: string;
  readonly reason: WithdrawReason;
  readonly object: FloatingIp | undefined;
}

export interface FloatingDecision {
  readonly withdrawals: readonly Withdrawal[];
  /** Objects whose holder is no longer this node: it has withdrawn. */
  readonly clear: readonly FloatingIp[];
  /** Objects whose holder this node becomes, or says again that it is. */
  readonly acquire: readonly FloatingIp[];
  /** Addresses that this node answers for. */
  readonly hold: readonly string[];
  /** Whole seconds from now that they may be held for; less than 1: not at all. */
  readonly validForSeconds: number;
  /** Whether the Lease is to be renewed. */
  readonly needsLease: boolean;
}

/** What carrying out a command may take without being looked at; see validForSeconds. */
const MARGIN_MS = 50;

/**
 * For how many whole seconds addresses may be put on a device now, so that they
 * are gone when others may have them: also if the kernel is as late as it may
 * be, and nobody is here to take them away.
 */
export const validForSeconds = ({ begunAt }: HeldLease, now: number): number => {
  const leftMs = FLOATING_FENCED_AFTER_MS - FLOATING_KERNEL_LATENESS_MS - MARGIN_MS - (now - begunAt);
  return Math.min(FLOATING_VALID_SECONDS, Math.floor(leftMs / 1000));
};

/** When what was put on a device with that lease is to be withdrawn, on the monotonic clock. */
export const leaseDeadline = ({ begunAt }: HeldLease): number => begunAt + FLOATING_VALID_SECONDS * 1000;

/** Whether addresses that were put on a device for so many seconds, until just now, will be gone in time. */
export const isInTime = ({ begunAt }: HeldLease, seconds: number, now: number): boolean =>
  now + seconds * 1000 + FLOATING_KERNEL_LATENESS_MS <= begunAt + FLOATING_FENCED_AFTER_MS;

const isClaimedBy = (nodeName: string, { status }: FloatingIp): boolean =>
  status?.claim?.nodeName === nodeName;
const isHeldBy = (nodeName: string, { status }: FloatingIp): boolean => status?.holder?.nodeName === nodeName;

/** What the claim is to be translated to; undefined when its guest is not on this node. */
export const wantedTranslation = (
  { status }: FloatingIp,
  targets: readonly FloatingTarget[],
): FloatingAddress | undefined => {
  const claim = status?.claim;
  const target = targets.find(
    (one) =>
      one.machineUid === claim?.machineUid && one.guestAddress === claim.address && one.vni === claim.vni,
  );
  if (status?.address === undefined || target === undefined) return undefined;
  const { guestAddress, vni, tap } = target;
  return { address: status.address, guestAddress, vni, tap };
};

export const sameTranslation = (
  one: FloatingAddress | undefined,
  other: FloatingAddress | undefined,
): boolean => one?.guestAddress === other?.guestAddress && one?.vni === other?.vni && one?.tap === other?.tap;

/**
 * What is to be translated: each claim whose guest is here, and what is held
 * and was translated, until it is withdrawn. Undefined while nobody can say.
 */
export const wantedTranslations = ({
  nodeName,
  inSync,
  objects,
  held,
  translated,
  targets,
}: FloatingFacts): readonly FloatingAddress[] | undefined => {
  if (!inSync || targets === undefined) return undefined;
  const wanted = new Map<string, FloatingAddress>();
  for (const address of held) {
    const present = translated?.get(address);
    if (present !== undefined) wanted.set(address, present);
  }
  for (const object of objects.filter((one) => isClaimedBy(nodeName, one))) {
    const translation = wantedTranslation(object, targets);
    if (translation !== undefined) wanted.set(translation.address, translation);
  }
  return [...wanted.values()].toSorted((a, b) => (a.address < b.address ? -1 : 1));
};

type Verdict =
  | { readonly kind: "hold" | "acquire" | "clear" | "wait" }
  | { readonly kind: "withdraw"; readonly reason: WithdrawReason };

const isAlive = ({ lease, now }: FloatingFacts): boolean => lease !== undefined && now < leaseDeadline(lease);

const isConfirmed = ({ lease, confirmed }: FloatingFacts, address: string, uid?: string): boolean => {
  const confirmation = confirmed.get(address);
  return (
    lease !== undefined &&
    confirmation?.term === lease.term &&
    (confirmation.uid === undefined || uid === undefined || confirmation.uid === uid)
  );
};

/** A guest that is not known yet may well be here; one that is known not to be is not. */
const isReady = (
  { targets, translated, held }: FloatingFacts,
  object: FloatingIp,
  address: string,
): "ready" | "wait" | "gone" => {
  // What is held goes on as it is, with the rules of a predecessor even, while it is not known better.
  const otherwise = held.has(address) ? "ready" : "wait";
  if (targets === undefined) return otherwise;
  const wanted = wantedTranslation(object, targets);
  if (wanted === undefined) return "gone";
  return translated !== undefined && sameTranslation(wanted, translated.get(address)) ? "ready" : otherwise;
};

const judgeClaimed = (facts: FloatingFacts, object: FloatingIp, address: string): Verdict => {
  const { nodeName, held } = facts;
  const isHeld = held.has(address);
  // Before its first renewal an agent leaves to the kernel what a predecessor put there.
  if (facts.lease === undefined) return { kind: "wait" };
  if (!isAlive(facts)) return isHeld ? { kind: "withdraw", reason: "LeaseLost" } : { kind: "wait" };
  const ready = isReady(facts, object, address);
  if (ready === "gone") return isHeld ? { kind: "withdraw", reason: "GuestGone" } : { kind: "wait" };
  if (isHeldBy(nodeName, object) && isConfirmed(facts, address, object.metadata.uid)) {
    return { kind: ready === "ready" ? "hold" : "wait" };
  }
  if (isHeld) return { kind: "withdraw", reason: "LeaseLost" };
  const isFree = object.status?.holder === undefined || isHeldBy(nodeName, object);
  return { kind: ready === "ready" && isFree ? "acquire" : "wait" };
};

const judge = (facts: FloatingFacts, object: FloatingIp, address: string): Verdict => {
  if (isClaimedBy(facts.nodeName, object)) return judgeClaimed(facts, object, address);
  if (facts.held.has(address)) return { kind: "withdraw", reason: "ClaimMoved" };
  return { kind: isHeldBy(facts.nodeName, object) ? "clear" : "wait" };
};

/** An address for which there is no object; it may be that the objects are not known yet. */
const judgeUnknown = (facts: FloatingFacts, address: string): Verdict => {
  if (facts.inSync && !facts.hasUnreadable) return { kind: "withdraw", reason: "Unknown" };
  if (facts.lease === undefined) return { kind: "wait" };
  const isOurs = isAlive(facts) && isConfirmed(facts, address);
  return isOurs ? { kind: "hold" } : { kind: "withdraw", reason: "LeaseLost" };
};

/** One object for each address: should two have the same, the one that this node is the holder of. */
const byAddress = ({ nodeName, objects }: FloatingFacts): ReadonlyMap<string, FloatingIp> => {
  const found = new Map<string, FloatingIp>();
  for (const object of objects) {
    const address = object.status?.address;
    if (address === undefined) continue;
    if (!found.has(address) || isHeldBy(nodeName, object)) found.set(address, object);
  }
  return found;
};

/** What is to be done now, and in this order: withdraw, write, hold. */
export const decideFloating = (facts: FloatingFacts): FloatingDecision => {
  const { nodeName, objects, inFlight, held, lease, now } = facts;
  const known = byAddress(facts);
  const addresses = [...new Set([...known.keys(), ...held])].toSorted();
  const verdicts = addresses.map((address) => {
    const object = known.get(address);
    const verdict = object === undefined ? judgeUnknown(facts, address) : judge(facts, object, address);
    return { address, object, verdict };
  });
  const writable = (kind: "acquire" | "clear"): readonly FloatingIp[] =>
    verdicts.flatMap(({ object, verdict }) =>
      verdict.kind === kind && object !== undefined && !inFlight.has(object.metadata.uid) ? [object] : [],
    );
  return {
    withdrawals: verdicts.flatMap(({ address, object, verdict }) =>
      verdict.kind === "withdraw" ? [{ address, object, reason: verdict.reason }] : [],
    ),
    clear: writable("clear"),
    acquire: writable("acquire"),
    hold: verdicts.flatMap(({ address, verdict }) => (verdict.kind === "hold" ? [address] : [])),
    validForSeconds: lease === undefined ? 0 : validForSeconds(lease, now),
    needsLease: held.size > 0 || objects.some((one) => isClaimedBy(nodeName, one) || isHeldBy(nodeName, one)),
  };
};
