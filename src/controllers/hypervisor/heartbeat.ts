import type { Lease } from "../../kube/index.ts";

/** A node whose Lease does not say how long it is good for. As kubelet's. */
const DEFAULT_DURATION_MS = 40_000;

/**
 * What this process knows of a node's heartbeat. Only changes that it saw count,
 * on its own clock: what the Lease says of time is the node's clock, which may
 * be wrong. https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
 */
export interface Sighting {
  /** The Lease's renewTime when it was last looked at: a mark that changes, not a time. */
  readonly renewTime: string | undefined;
  /** Monotonic ms of the last sign of life; undefined while the node counts as lost. */
  readonly aliveAt: number | undefined;
  /** Monotonic ms when this process saw the Lease renewed, or looked at it for the first time. */
  readonly unchangedSince: number;
  readonly durationMs: number;
  /** Did the stored status say that the heartbeat was lost? */
  readonly saidLost: boolean;
}

export interface Look {
  readonly lease: Lease | undefined;
  /** Undefined at the first look. */
  readonly previous: Sighting | undefined;
  /** Does the stored status say that the heartbeat was lost? */
  readonly saidLost: boolean;
  /** Monotonic ms. */
  readonly now: number;
}

/**
 * Looks at the Lease. A node that is seen for the first time is given the
 * benefit of the doubt for one duration, unless it was lost before: a fresh
 * process believes that until it sees a renewal.
 *
 * An agent that takes its Ready back lives too, whatever its Lease says: without
 * that rule, one that cannot write its Lease and this process would overwrite
 * each other without a pause.
 */
export const lookAtHeartbeat = ({ lease, previous, saidLost, now }: Look): Sighting => {
  const renewTime = lease?.spec.renewTime;
  const seconds = lease?.spec.leaseDurationSeconds;
  const durationMs = seconds === undefined ? DEFAULT_DURATION_MS : seconds * 1000;
  const known = { renewTime, durationMs, saidLost };
  if (previous === undefined) return { ...known, aliveAt: saidLost ? undefined : now, unchangedSince: now };
  const isRenewed = renewTime !== undefined && renewTime !== previous.renewTime;
  const isTakenBack = previous.saidLost && !saidLost;
  return {
    ...known,
    aliveAt: isRenewed || isTakenBack ? now : previous.aliveAt,
    unchangedSince: isRenewed ? now : previous.unchangedSince,
  };
};

/** How long the node is still taken to be alive without another renewal, in ms; undefined when it is lost. */
export const aliveForMs = ({ aliveAt, durationMs }: Sighting, now: number): number | undefined => {
  if (aliveAt === undefined) return undefined;
  const left = aliveAt + durationMs - now;
  return left > 0 ? left : undefined;
};
