import type { VirtualMachine, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import { isAtLeast } from "../../kube/index.ts";

/** What a machine is given when it is placed. */
export interface Placement {
  readonly nodeName: string;
  readonly allocation: VirtualMachineAllocation;
  /** Why there, in a sentence. */
  readonly explanation: string;
}

/**
 * Placements between the moment they are decided and the moment the store shows
 * them: the part of the truth that this process knows earlier than its watch.
 * Whoever decides counts both, so that neither an address nor room on a node is
 * given twice, however late the store is and however many workers there are.
 *
 * A placement is held synchronously with its decision. Once it was sent, nobody
 * but the API server knows what became of it, even after an error; so it is
 * held, and repeated as it is, until the store tells:
 *
 * - the machine has an allocation, or is gone: the store has it all;
 * - the machine was changed since the version that the write was bound to, and
 *   has no allocation: the write can have no effect any more.
 */
export interface Reservations {
  find(vmUid: string): Placement | undefined;
  /** All that is held, by the machine's uid. */
  list(): ReadonlyMap<string, Placement>;
  hold(vmUid: string, placement: Placement): void;
  /** The write is about to leave; it takes effect on this version of the machine or never. */
  sent(vmUid: string, resourceVersion: string): void;
  /** It was refused for good. */
  release(vmUid: string): void;
  /** Whoever was to send it has given up before it did. */
  releaseUnsent(vmUid: string): void;
  /** Lets go of what the store tells the end of. @param find the machine of that uid as the store has it */
  settle(find: (vmUid: string) => VirtualMachine | undefined): void;
}

interface Reservation {
  readonly placement: Placement;
  readonly sentFor?: string | undefined;
}

export const createReservations = (): Reservations => {
  const held = new Map<string, Reservation>();
  return {
    find: (vmUid) => held.get(vmUid)?.placement,
    list: () => new Map([...held].map(([vmUid, { placement }]) => [vmUid, placement])),
    hold: (vmUid, placement) => void held.set(vmUid, { placement }),
    sent: (vmUid, resourceVersion) => {
      const reservation = held.get(vmUid);
      if (reservation !== undefined) held.set(vmUid, { ...reservation, sentFor: resourceVersion });
    },
    release: (vmUid) => void held.delete(vmUid),
    releaseUnsent: (vmUid) => {
      if (held.get(vmUid)?.sentFor === undefined) held.delete(vmUid);
    },
    settle: (find) => {
      for (const [vmUid, { sentFor }] of held)
        if (sentFor !== undefined && isSettled(find(vmUid), sentFor)) held.delete(vmUid);
    },
  };
};

const isSettled = (machine: VirtualMachine | undefined, sentFor: string): boolean => {
  if (machine === undefined || machine.status?.allocation !== undefined) return true;
  const { resourceVersion } = machine.metadata;
  return resourceVersion !== sentFor && isAtLeast(resourceVersion, sentFor);
};
