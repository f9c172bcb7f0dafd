import type { AllocatedInterface } from "../../api/virtual-machine.ts";

export { tapName } from "./owner.ts";

/** The interfaces that a machine is to have on this node. */
export interface Link {
  readonly vmUid: string;
  readonly interfaces: readonly AllocatedInterface[];
}

/** The host's end of a guest's interface. */
export interface Tap {
  /** Name of the Network. */
  readonly network: string;
  /** Name of the tap device on the node; see tapName. */
  readonly name: string;
  /** The guest's hardware address. The tap's own is the same everywhere. */
  readonly macAddress: string;
  /** The guest's address. */
  readonly address: string;
  /** Largest packet in bytes. */
  readonly mtu: number;
}
