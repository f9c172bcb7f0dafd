import type { VirtualMachine, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import { isAtLeast } from "../../kube/index.ts";
import type { Resources } from "../scheduler/types.ts";
import type { MachineSize } from "./size.ts";

/** What a machine is given when it is placed. */
export interface Placement {
  readonly kind: "placement";
  readonly nodeName: string;
  readonly allocation: VirtualMachineAllocation;
  /** What that takes of the node: beside the allocation, room for Volumes that come to the node with the machine. */
  readonly resources: Resources;
  /** Why there, in a sentence. */
  readonly explanation: string;
}

/** What a machine on a node is given when its size changes. */
export interface Resize {
  readonly kind: "resize";
  readonly nodeName: string;
  readonly size: MachineSize;
  /** What that takes of the node beyond what the machine has; nothing where it becomes smaller. */
  readonly growth: Resources;
}

/** Where a machine goes whose node is out of service. */
export interface Relocation {
  readonly kind: "relocation";
  readonly nodeName: string;
  /** What it takes of that node. */
  readonly resources: Resources;
}

export type Reserved = Placement | Resize | Relocation;

/**
 * What is given out between the moment it is decided and the moment the store
 * shows it: the part of the truth that this process knows earlier than its watch.
 * Whoever decides counts both, so that neither an address nor room on a node is
 * given twice, however late the store is and however many workers there are.
 *
 * It is held synchronously with its decision. Once it was sent, nobody but the
 * API server knows what became of it, even after an error; so it is held, and
 * repeated as it is, until the store tells:
 *
 * - the machine has an allocation, when it was to be placed, or is gone: the
 *   store has it all;
 * - the machine was changed since the version that the write was bound to: the
 *   write is in what the store shows, or can have no effect any more.
 */
export interface Reservations {
  find(vmUid: string): Reserved | undefined;
  /** All that is held, by the machine's uid. */
  list(): ReadonlyMap<string, Reserved>;
  hold(vmUid: string, reserved: Reserved): void;
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
  readonly reserved: Reserved;
  readonly sentFor?: string | undefined;
}

export const createReservations = (): Reservations => {
  const held = new Map<string, Reservation>();
  return {
    find: (vmUid) => held.get(vmUid)?.reserved,
    list: () => new Map([...held].map(([vmUid, { reserved }]) => [vmUid, reserved])),
    hold: (vmUid, reserved) => void held.set(vmUid, { reserved }),
    sent: (vmUid, resourceVersion) => {
      const reservation = held.get(vmUid);
      if (reservation !== undefined) held.set(vmUid, { ...reservation, sentFor: resourceVersion });
    },
    release: (vmUid) => void held.delete(vmUid),
    releaseUnsent: (vmUid) => {
      if (held.get(vmUid)?.sentFor === undefined) held.delete(vmUid);
    },
    settle: (find) => {
      for (const [vmUid, { reserved, sentFor }] of held)
        if (sentFor !== undefined && isSettled(reserved, find(vmUid), sentFor)) held.delete(vmUid);
    },
  };
};

const isSettled = (reserved: Reserved, machine: VirtualMachine | undefined, sentFor: string): boolean => {
  if (machine === undefined) return true;
  if (reserved.kind === "placement" && machine.status?.allocation !== undefined) return true;
  const { resourceVersion } = machine.metadata;
  return resourceVersion !== sentFor && isAtLeast(resourceVersion, sentFor);
};
