import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import { formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { BY_POOL } from "../stores.ts";
import { hasAddress, poolAddresses, poolsOverlap } from "./addresses.ts";

export interface PoolFacts {
  readonly pool: FloatingIpPool;
  /** Addresses of it that FloatingIPs hold, from whichever pool they took them. */
  readonly allocated: number;
  /** "namespace/name" of the FloatingIPs that took an address from it, in order. */
  readonly users: readonly string[];
  /** Names of other pools with addresses in common, in order. */
  readonly overlapping: readonly string[];
  /** FloatingIPs that exist and cannot be understood: they may hold an address of it. */
  readonly unreadable: number;
  /** Time since this process last wrote the status, in ms; undefined when it has not. */
  readonly sinceWriteMs: number | undefined;
}

export const observePool = (
  stores: Stores,
  key: ObjectKey,
  sinceWriteMs: (uid: string) => number | undefined,
): PoolFacts | undefined => {
  const pool = stores.floatingIpPools.get(key);
  if (pool === undefined) return undefined;
  const addresses = poolAddresses(pool.spec);
  const held = new Set(stores.floatingIps.list().flatMap(({ status }) => status?.address ?? []));
  return {
    pool,
    allocated: [...held].filter((address) => hasAddress(addresses, address)).length,
    users: stores.floatingIps
      .byIndex(BY_POOL, key.name)
      .filter(({ status }) => status?.address !== undefined)
      .map((user) => formatKey(keyOf(user)))
      .toSorted(),
    overlapping: stores.floatingIpPools
      .list()
      .filter((other) => other.metadata.uid !== pool.metadata.uid && poolsOverlap(other, pool))
      .map(({ metadata }) => metadata.name)
      .toSorted(),
    unreadable: stores.floatingIps.unreadable().length,
    sinceWriteMs: sinceWriteMs(pool.metadata.uid),
  };
};
