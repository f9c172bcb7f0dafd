import { isConflict, isNotFound } from "./api-error.ts";
import { leases, type Lease } from "./builtin.ts";
import type { Abortable, KubeClient } from "./client.ts";
import { systemClock } from "./clock.ts";
import { leaseSeconds, type HeartbeatOptions } from "./lease.ts";
import { microTime } from "./micro-time.ts";

/** Stands in a Lease in place of its holder after somebody fenced it. No node has this name: it is no DNS label. */
export const FENCED = "vireo.dev/fenced";

/** What a renewal says about the time before it. */
export interface Renewal {
  /** Names the time since the Lease was taken. Another term: the Lease was lost in between. */
  readonly term: string;
  /** The term began before this process first looked at the Lease: what a predecessor held is still held. */
  readonly continued: boolean;
}

/**
 * A Lease by which a node keeps what others may take from it when it falls
 * silent. Renewing and fencing both write only over the version that they know,
 * so that just one of them succeeds, however late a watch is: a renewal that
 * succeeds proves that no fence came before it.
 */
export interface FencingLease {
  /**
   * Renews the Lease, takes it back after a fence, or makes it. Rejects as the
   * client does; the Lease may be renewed all the same then. One call at a time.
   */
  renew(signal: AbortSignal): Promise<Renewal>;
}

export type FencingLeaseOptions = Omit<HeartbeatOptions, "logger" | "intervalMs">;

const termOf = ({ metadata, spec }: Lease): string => `${metadata.uid}/${spec.leaseTransitions ?? 0}`;

export const createFencingLease = (options: FencingLeaseOptions): FencingLease => {
  const { client, namespace, name, identity } = options;
  let known: Lease | undefined;
  let hasLooked = false;
  /** The term that a predecessor left. */
  let inherited: string | undefined;

  const renewal = (lease: Lease): Renewal => {
    known = lease;
    const term = termOf(lease);
    return { term, continued: term === inherited };
  };
  const spec = (transitions: number, isNew: boolean) => {
    const time = microTime((options.clock ?? systemClock).now());
    return {
      holderIdentity: identity,
      leaseDurationSeconds: leaseSeconds(options.leaseDurationMs ?? 40_000),
      leaseTransitions: transitions,
      renewTime: time,
      ...(isNew && { acquireTime: time }),
    };
  };
  const make = async (signal: AbortSignal): Promise<Renewal> => {
    const metadata = { namespace, name, ...(options.labels !== undefined && { labels: options.labels }) };
    return renewal(await client.create(leases, { metadata, spec: spec(1, true) }, { signal }));
  };
  const renewKnown = async (lease: Lease, signal: AbortSignal): Promise<Renewal> => {
    const isOurs = lease.spec.holderIdentity === identity;
    const transitions = (lease.spec.leaseTransitions ?? 0) + (isOurs ? 0 : 1);
    const { resourceVersion, uid } = lease.metadata;
    const patch = { metadata: { resourceVersion, uid }, spec: spec(transitions, !isOurs) };
    return renewal(await client.mergePatch(leases, { namespace, name }, patch, { signal }));
  };
  const look = async (signal: AbortSignal): Promise<Renewal> => {
    const lease = await client.get(leases, { namespace, name }, { signal });
    // Later looks may find what a renewal of this process did whose answer was lost.
    if (!hasLooked && lease?.spec.holderIdentity === identity) inherited = termOf(lease);
    hasLooked = true;
    return lease === undefined ? make(signal) : renewKnown(lease, signal);
  };

  return {
    renew: async (signal) => {
      if (known === undefined) return look(signal);
      try {
        return await renewKnown(known, signal);
      } catch (error) {
        // Fenced, or an answer to ourselves was lost: what the Lease says now tells which.
        known = undefined;
        if (!isConflict(error) && !isNotFound(error)) throw error;
        return look(signal);
      }
    },
  };
};

/**
 * Takes a silent node's Lease from it, unless it was renewed since `lease` was
 * read: false then, and what the node holds stays its own. True: whatever the
 * node does from now on, it does knowing of the fence. To be called again
 * before each thing that is taken from the node, also when it is fenced
 * already; what is taken must have been read before.
 */
export const fenceLease = async (
  client: KubeClient,
  { metadata: { namespace, name, uid, resourceVersion } }: Lease,
  { signal }: Abortable,
): Promise<boolean> => {
  const patch = { metadata: { uid, resourceVersion }, spec: { holderIdentity: FENCED } };
  try {
    await client.mergePatch(leases, { namespace, name }, patch, { signal });
    return true;
  } catch (error) {
    if (isConflict(error) || isNotFound(error)) return false;
    throw error;
  }
};

/** As fenceLease, of a node that has no Lease: makes one that is fenced. False when there is one after all. */
export const fenceMissingLease = async (
  client: KubeClient,
  key: { readonly namespace: string; readonly name: string },
  { signal }: Abortable,
): Promise<boolean> => {
  try {
    await client.create(leases, { metadata: key, spec: { holderIdentity: FENCED } }, { signal });
    return true;
  } catch (error) {
    if (isConflict(error)) return false;
    throw error;
  }
};
