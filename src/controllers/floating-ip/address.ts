import type { FloatingIp } from "../../api/floating-ip.ts";
import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import { hasAddress, poolAddresses } from "../floating-ip-pool/addresses.ts";

/** What the choice of an address depends on. */
export interface AddressFacts {
  /** Undefined when there is none of that name. */
  readonly pool: FloatingIpPool | undefined;
  /** An address that was decided before and may have been written. */
  readonly reserved: string | undefined;
  /** "namespace/name" of the other FloatingIP that has the address that is asked for. */
  readonly takenBy: string | undefined;
  /** The lowest address of the pool that nobody has or asks for. */
  readonly free: string | undefined;
  /** FloatingIPs that exist and cannot be understood: their addresses are not known. */
  readonly unreadable: number;
}

export type AddressChoice =
  | { readonly kind: "address"; readonly address: string; readonly isNew: boolean }
  | { readonly kind: "none"; readonly reason: string; readonly message: string };

/** The address of a FloatingIP: the one that it has, else one of its pool. */
export const chooseAddress = (
  { spec, status }: FloatingIp,
  { pool, reserved, takenBy, free, unreadable }: AddressFacts,
): AddressChoice => {
  if (status?.address !== undefined) return { kind: "address", address: status.address, isNew: false };
  // It may have been written already; whatever else is true by now, it must not be another one.
  if (reserved !== undefined) return { kind: "address", address: reserved, isNew: true };
  if (unreadable > 0) return none("UnreadableFloatingIPs", unreadableMessage(unreadable));
  if (pool === undefined)
    return none(
      "PoolNotFound",
      `FloatingIPPool ${spec.pool} does not exist. Make it; pools are cluster-wide.`,
    );
  if (pool.metadata.deletionTimestamp !== undefined)
    return none(
      "PoolNotFound",
      `FloatingIPPool ${spec.pool} is being deleted and gives out no more addresses.`,
    );
  return spec.address === undefined ? lowest(pool, free) : requested(pool, spec.address, takenBy);
};

const lowest = ({ metadata, spec }: FloatingIpPool, free: string | undefined): AddressChoice => {
  if (free !== undefined) return { kind: "address", address: free, isNew: true };
  const { capacity } = poolAddresses(spec);
  return none(
    "PoolExhausted",
    `FloatingIPPool ${metadata.name} has no free address: all ${capacity} are given out or asked for. Delete FloatingIPs that are not needed, or add addresses to the pool.`,
  );
};

const requested = (pool: FloatingIpPool, address: string, takenBy: string | undefined): AddressChoice => {
  if (!hasAddress(poolAddresses(pool.spec), address))
    return none(
      "AddressNotInPool",
      `FloatingIPPool ${pool.metadata.name} does not give out ${address}. Add it to the pool, or make a FloatingIP with another address.`,
    );
  if (takenBy !== undefined)
    return none(
      "AddressTaken",
      `FloatingIP ${takenBy} has ${address}. Delete that one, or make a FloatingIP with another address.`,
    );
  return { kind: "address", address, isNew: true };
};

const none = (reason: string, message: string): AddressChoice => ({ kind: "none", reason, message });

const unreadableMessage = (count: number): string =>
  `No address is given out, because the controller cannot understand ${count === 1 ? "a FloatingIP" : `${count} FloatingIPs`} and so does not know which are taken; its log says more. Is it older than the CustomResourceDefinitions?`;
