import { type Condition, findCondition, isTrue, withTransitionTimes } from "../../api/condition.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import { FENCED as FENCED_HOLDER, type Lease } from "../../kube/index.ts";
import type { Announcement } from "../announce.ts";
import type { Sighting } from "./heartbeat.ts";
import { isLost } from "./status.ts";

/**
 * Pure: when nothing of a silent node can run any more, and how that is known.
 *
 * A node is fenced while its heartbeat Lease has been taken from it: any renewal
 * gives it back, so that a Lease which is still taken proves that the node's
 * agent has said nothing since. The condition tells people, and the machines'
 * controller, which looks at the Lease itself before it starts anything
 * elsewhere. docs/design/fencing.md has the proof.
 */

export const FENCED = "Fenced";

/** Why: somebody said that the node is off; or its watchdog has reset it. */
export type FenceReason = "OutOfService" | "SelfFenced";

/**
 * Beyond the times that the node reports, in ms: for clocks that do not run at
 * the same rate, for the coarse ticks of watchdog timers, and for writes that
 * were on their way to the storage when the node was reset.
 */
export const FENCE_MARGIN_MS = 10_000;

/** Is it silent, and is it known that nothing of it runs? */
export const isFenced = (hypervisor: Hypervisor): boolean =>
  isLost(hypervisor) && isTrue(hypervisor.status?.conditions, FENCED);

/** What has become of a fenced node, after its name. */
export const fateOfFenced = (hypervisor: Hypervisor): string =>
  saidReason(hypervisor) === "SelfFenced" ? "was reset by its watchdog" : "is out of service";

/** Has the Lease been taken from the node, and not been renewed since? */
export const isTaken = (lease: Lease | undefined): boolean => lease?.spec.holderIdentity === FENCED_HOLDER;

/**
 * How long after its last renewal a node that resets itself has certainly done
 * so; undefined when it does not. Twice the timeout: its agent may be stopped,
 * by whatever it is, between the look at the clock and the last sign of life to
 * the watchdog, though for less than the timeout.
 */
export const selfFencedAfterMs = ({ status }: Hypervisor): number | undefined => {
  if (status?.selfFencing === undefined) return undefined;
  const { graceSeconds, timeoutSeconds } = status.selfFencing;
  return (graceSeconds + 2 * timeoutSeconds) * 1000 + FENCE_MARGIN_MS;
};

export interface FenceFacts {
  readonly hypervisor: Hypervisor;
  readonly sighting: Sighting;
  readonly lease: Lease | undefined;
}

export type FenceDecision =
  /** Nothing to do, until then if anything can change by time alone. */
  | { readonly kind: "lost"; readonly forMs?: number }
  /** The Lease is to be taken; the next look says so. */
  | { readonly kind: "fence"; readonly reason: FenceReason }
  | {
      readonly kind: "say-fenced";
      readonly conditions: readonly Condition[];
      readonly announcements: readonly Announcement[];
    }
  /** What was said holds no longer. */
  | { readonly kind: "lift" };

type Ground =
  | { readonly kind: "none" }
  | { readonly kind: "later"; readonly forMs: number }
  | { readonly kind: "due"; readonly reason: FenceReason };

/**
 * A watchdog's time counts from the last renewal that this process has seen; for
 * a process that was just started, from its first look. Only what an earlier one
 * has said of the Lease that is still taken holds at once.
 */
const groundOf = ({ hypervisor, sighting, lease }: FenceFacts, now: number): Ground => {
  if (hypervisor.spec.outOfService) return { kind: "due", reason: "OutOfService" };
  const afterMs = selfFencedAfterMs(hypervisor);
  if (afterMs === undefined) return { kind: "none" };
  const isProved = saidReason(hypervisor) === "SelfFenced" && isTaken(lease);
  const forMs = sighting.unchangedSince + afterMs - now;
  return isProved || forMs <= 0 ? { kind: "due", reason: "SelfFenced" } : { kind: "later", forMs };
};

const saidReason = ({ status }: Hypervisor): string | undefined => {
  const said = findCondition(status?.conditions, FENCED);
  return said?.status === "True" ? said.reason : undefined;
};

/**
 * Of a node that is said to be lost.
 *
 * @param now the same moment on the wall clock and, in ms, on the monotonic one
 */
export const decideFence = (
  facts: FenceFacts,
  now: { readonly wall: Date; readonly monotonic: number },
): FenceDecision => {
  const { hypervisor, lease } = facts;
  const ground = groundOf(facts, now.monotonic);
  const said = saidReason(hypervisor);
  if (ground.kind !== "due") {
    if (said !== undefined) return { kind: "lift" };
    return ground.kind === "later" ? { kind: "lost", forMs: ground.forMs } : { kind: "lost" };
  }
  if (!isTaken(lease)) return { kind: "fence", reason: ground.reason };
  if (said === ground.reason) return { kind: "lost" };
  const before = hypervisor.status?.conditions;
  const draft = {
    type: FENCED,
    status: "True" as const,
    reason: ground.reason,
    message: messageOf(hypervisor, ground.reason),
    observedGeneration: hypervisor.metadata.generation ?? 0,
  };
  const conditions = withTransitionTimes([draft], before, now.wall);
  const announcement: Announcement = { type: "Warning", reason: FENCED, message: draft.message };
  return { kind: "say-fenced", conditions, announcements: [announcement] };
};

const messageOf = (hypervisor: Hypervisor, reason: FenceReason): string => {
  const consequence = "its machines whose disks are all in shared storage pools are started on other nodes.";
  if (reason === "OutOfService")
    return `The node is silent, and spec.outOfService says that it is switched off: ${consequence}`;
  const { graceSeconds = 0, timeoutSeconds = 0 } = hypervisor.status?.selfFencing ?? {};
  return `The node's agent has renewed no heartbeat for so long that its watchdog has reset the node (after ${graceSeconds} s without an answer, and its timeout of ${timeoutSeconds} s): ${consequence}`;
};

/** Of a node that gives signs of life: what was said of it before. */
export const isToBeLifted = ({ hypervisor, lease }: Pick<FenceFacts, "hypervisor" | "lease">): boolean =>
  saidReason(hypervisor) !== undefined && !isTaken(lease);
