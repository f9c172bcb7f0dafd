/** A floating address, and the guest of this node that it is translated to. */
export interface FloatingAddress {
  /** The floating address. */
  readonly address: string;
  /** The guest's own address. */
  readonly guestAddress: string;
  /** Number of the Network that the guest's address is of. */
  readonly vni: number;
  /** The guest's tap on this node. */
  readonly tap: string;
}

/** An IPv4 address of a device of this node. */
export interface DeviceAddress {
  readonly device: string;
  readonly address: string;
  readonly prefixLength: number;
  /** Of the address's routes; ours carry a number that nobody else uses. */
  readonly metric: number | undefined;
}

/** What of this node faces the outside. */
export interface ObservedOutside {
  readonly addresses: readonly DeviceAddress[];
  /** Devices of default routes, the preferred one first. */
  readonly defaultDevices: readonly string[];
}

/** An address that is to be put on a device, or stays there. */
export interface Placement {
  readonly address: string;
  readonly device: string;
  /** It was on no device of this node. */
  readonly isNew: boolean;
}

/** What the room says to people. */
export interface FloatingLogger {
  readonly warn: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}
