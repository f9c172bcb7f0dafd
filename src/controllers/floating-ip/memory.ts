import type { FloatingIp } from "../../api/floating-ip.ts";
import { type Clock, formatKey, keyOf, type Store } from "../../kube/index.ts";
import { createFloatingNodes, type FloatingNodes } from "./nodes.ts";

/** An address that was decided on, and that the store does not show yet. */
export interface Reservation {
  readonly address: string;
  /** "namespace/name" of the FloatingIP. */
  readonly owner: string;
}

/** A move that was written, until another node answers. */
export interface Move {
  /** Monotonic ms of what caused it. */
  readonly causedAt: number;
}

/** What the controller knows of FloatingIPs beside the stores. All of it may be lost. */
export interface FloatingMemory {
  readonly nodes: FloatingNodes;
  /**
   * Addresses between the moment they are decided and the moment the store shows
   * them, by the FloatingIP's uid: two workers, or a late watch, cannot give the
   * same one twice. What was sent may have been done, so that it is held and
   * repeated as it is until the store tells.
   */
  readonly reservations: Map<string, Reservation>;
  /** By the FloatingIP's uid. */
  readonly moves: Map<string, Move>;
  /** Time since the claim could have been taken by its node and was not, in ms; undefined when it could not. */
  notTakenForMs(floatingIp: FloatingIp): number | undefined;
}

/** @param store is listened to, so that nothing is remembered of what is gone */
export const createFloatingMemory = (
  store: Store<FloatingIp>,
  clock: Pick<Clock, "monotonic">,
): FloatingMemory => {
  const nodes = createFloatingNodes(clock);
  const reservations = new Map<string, Reservation>();
  const moves = new Map<string, Move>();
  const offers = new Map<string, { readonly nodeName: string; readonly since: number }>();
  store.onChange(({ before, after, unreadable }) => {
    if (before !== undefined && !unreadable && before.metadata.uid !== after?.metadata.uid)
      for (const map of [reservations, moves, offers]) map.delete(before.metadata.uid);
    if (after?.status?.address !== undefined) reservations.delete(after.metadata.uid);
    const [then, now] = [before?.status?.holder, after?.status?.holder];
    if (now !== undefined && (then?.nodeName !== now.nodeName || then.since !== now.since))
      nodes.tookHold(now.nodeName);
  });
  return {
    nodes,
    reservations,
    moves,
    notTakenForMs: ({ metadata: { uid }, status }) => {
      const nodeName = status?.claim?.nodeName;
      if (nodeName === undefined || status?.holder !== undefined) {
        offers.delete(uid);
        return undefined;
      }
      const known = offers.get(uid);
      const since = known?.nodeName === nodeName ? known.since : clock.monotonic();
      offers.set(uid, { nodeName, since });
      return clock.monotonic() - since;
    },
  };
};

/** The other FloatingIP that was promised this address, if one was. */
export const promisedTo = (
  { reservations }: FloatingMemory,
  address: string,
  floatingIp: FloatingIp,
): string | undefined => {
  for (const reservation of reservations.values())
    if (reservation.address === address && reservation.owner !== formatKey(keyOf(floatingIp)))
      return reservation.owner;
  return undefined;
};
