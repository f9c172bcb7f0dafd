import { type FloatingIpPool, floatingIpPools } from "../../api/floating-ip-pool.ts";
import type { ControllerContext } from "../context.ts";
import { writeFinalizers } from "../finalizers.ts";
import { applyStatus } from "../status-writer.ts";
import type { PoolStep } from "./decide.ts";

export type PoolEffects = Pick<ControllerContext, "client" | "stores" | "events">;

/**
 * Carries the steps out. Each write is bound to the version that the one before
 * it has made: whatever comes between ends it with a conflict, and everything is
 * looked at anew.
 */
export const applyPool = async (
  effects: PoolEffects,
  pool: FloatingIpPool,
  steps: readonly PoolStep[],
  signal: AbortSignal,
): Promise<void> => {
  let current: FloatingIpPool | undefined = pool;
  for (const step of steps) {
    if (current === undefined) return;
    current = await execute(effects, current, step, signal);
  }
};

const execute = async (
  { client, stores, events }: PoolEffects,
  pool: FloatingIpPool,
  step: PoolStep,
  signal: AbortSignal,
): Promise<FloatingIpPool | undefined> => {
  switch (step.kind) {
    case "write-finalizers":
      return writeFinalizers(client, floatingIpPools, pool, step.finalizers, signal);
    case "apply-status": {
      const write = { client, resource: floatingIpPools, store: stores.floatingIpPools, signal };
      return applyStatus(write, pool, step.status);
    }
    case "announce": {
      const { type, reason, message } = step.announcement;
      events.event(pool, type, reason, message);
      return pool;
    }
  }
};
