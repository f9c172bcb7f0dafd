import type { FloatingIp } from "../../api/floating-ip.ts";
import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import {
  type Change,
  type Controller,
  createController,
  done,
  isMoreThanStatus,
  keyOf,
  type ObjectKey,
  requeueAfter,
} from "../../kube/index.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { covers } from "./addresses.ts";
import { applyPool } from "./apply.ts";
import { decidePool } from "./decide.ts";
import { observePool } from "./observe.ts";

/** Says of each FloatingIPPool how full it is, and keeps it while its addresses are in use. */
export const createFloatingIpPoolController = (context: ControllerContext): Controller => {
  const { stores, clock, logger, metrics } = context;
  /** When this process last wrote the status of which pool. */
  const writtenAt = new Map<string, number>();
  const sinceWriteMs = (uid: string): number | undefined => {
    const at = writtenAt.get(uid);
    return at === undefined ? undefined : clock.monotonic() - at;
  };
  stores.floatingIpPools.onChange(({ before, after }) => {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid)
      writtenAt.delete(before.metadata.uid);
  });
  return createController({
    name: "floating-ip-pool",
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.floatingIpPools, map: (change) => poolsBeside(stores, change) },
      { store: stores.floatingIps, map: (change) => poolsOfFloatingIp(stores, change) },
    ],
    reconcile: async (key, signal) => {
      const facts = observePool(stores, key, sinceWriteMs);
      if (facts === undefined) return done;
      const { steps, requeueAfterMs } = decidePool(facts, new Date(clock.now()));
      if (steps.some(({ kind }) => kind === "apply-status"))
        writtenAt.set(facts.pool.metadata.uid, clock.monotonic());
      await applyPool(context, facts.pool, steps, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

/** A pool that comes, goes or changes may overlap any other; a status concerns nobody. */
const poolsBeside = (stores: Stores, change: Change<FloatingIpPool>): readonly ObjectKey[] =>
  isMoreThanStatus(change) ? [change.key, ...stores.floatingIpPools.list().map(keyOf)] : [change.key];

/** The pools that count an address that was taken or given back; all of them when one could not be read. */
const poolsOfFloatingIp = (stores: Stores, change: Change<FloatingIp>): readonly ObjectKey[] => {
  const { before, after, unreadable } = change;
  const pools = stores.floatingIpPools.list();
  if (unreadable || before === undefined || after === undefined) return pools.map(keyOf);
  const [then, now] = [before.status?.address, after.status?.address];
  if (then === now && before.metadata.uid === after.metadata.uid) return [];
  const moved = [then, now].flatMap((address) => address ?? []);
  return pools
    .filter(
      (pool) => pool.metadata.name === after.spec.pool || moved.some((address) => covers(pool, address)),
    )
    .map(keyOf);
};
