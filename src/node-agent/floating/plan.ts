import { isHeldAddress } from "./owner.ts";
import type { DeviceAddress, ObservedOutside, Placement } from "./types.ts";

/** Where addresses go. Pure. */

/** An address that somebody else put on this node. */
export class ForeignAddressError extends Error {
  override readonly name = "ForeignAddressError";

  constructor({ address, prefixLength, device }: DeviceAddress) {
    super(
      `${address} cannot be held: it is on ${device} already, as ${address}/${prefixLength}, and Vireo did not put it there. Remove it, or take it out of the FloatingIPPool`,
    );
  }
}

const toNumber = (address: string): number =>
  address.split(".").reduce((number, byte) => number * 256 + Number(byte), 0);

/** Whether an address is of the network of a device's address. */
const isInNetworkOf = ({ address, prefixLength }: DeviceAddress, other: string): boolean => {
  const size = 2 ** (32 - prefixLength);
  return Math.floor(toNumber(address) / size) === Math.floor(toNumber(other) / size);
};

/** Devices for guests and tunnels have networks of guests, which are not outside. */
const isOutside = ({ device }: DeviceAddress): boolean => !/^(?:vtap|vvx|vireo-gw|lo$)/.test(device);

export interface PlaceOptions {
  /** Name of the device for all floating addresses. Default: the one whose network has the address, else that of the default route. */
  readonly device?: string | undefined;
}

/** The device that an address is announced on. Throws Error when the node has none. */
export const externalDevice = (
  address: string,
  observed: ObservedOutside,
  { device }: PlaceOptions,
): string => {
  if (device !== undefined) return device;
  const [nearest] = observed.addresses
    .filter((own) => isOutside(own) && own.prefixLength < 32 && isInNetworkOf(own, address))
    .toSorted((a, b) => b.prefixLength - a.prefixLength);
  const found = nearest?.device ?? observed.defaultDevices.at(0);
  if (found !== undefined) return found;
  throw new Error(
    `no device for ${address}: no device of this node has a network with it, and there is no default route. Name the device in the agent's configuration`,
  );
};

/** The address that the node's own packets come from on the device of the first of these. Undefined when it has none. */
export const nodeAddressFor = (
  addresses: readonly string[],
  observed: ObservedOutside,
  options: PlaceOptions,
): string | undefined => {
  const device = externalDevice(addresses[0] ?? "", observed, options);
  const own = observed.addresses.filter((one) => isOutside(one) && !isHeldAddress(one));
  return (own.find((one) => one.device === device) ?? own[0])?.address;
};

/** The addresses of ours that are on devices. */
export const heldAddresses = ({ addresses }: ObservedOutside): readonly DeviceAddress[] =>
  addresses.filter(isHeldAddress);

export interface Placing {
  readonly placements: readonly Placement[];
  /** Those that somebody else has put on a device. */
  readonly foreign: readonly DeviceAddress[];
}

export const place = (
  addresses: readonly string[],
  observed: ObservedOutside,
  options: PlaceOptions,
): Placing => {
  const wanted = new Set(addresses);
  const present = observed.addresses.filter(({ address }) => wanted.has(address));
  const foreign = present.filter((one) => !isHeldAddress(one));
  for (const { address } of foreign) wanted.delete(address);
  const placements = [...wanted].map((address) => {
    // It stays where it is: the way to the outside may change, a connection must not break for that.
    const own = present.find((one) => one.address === address);
    const device = own?.device ?? externalDevice(address, observed, options);
    return { address, device, isNew: own === undefined };
  });
  return { placements, foreign };
};
