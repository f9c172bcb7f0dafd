import { type FloatingIp, floatingIps } from "../../api/floating-ip.ts";
import { ApiError, formatKey, isNotFound, keyOf } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { writeFinalizers } from "../finalizers.ts";
import { applyStatus } from "../status-writer.ts";
import type { FloatingIpDecision, FloatingIpStep } from "./decide.ts";
import type { FloatingMemory } from "./memory.ts";

export interface FloatingIpEffects extends Pick<
  ControllerContext,
  "client" | "stores" | "events" | "metrics" | "clock"
> {
  readonly memory: FloatingMemory;
}

/** Carries one step out on this version of the FloatingIP; resolves with the next version, or undefined when it is gone. */
type Executor<Kind extends FloatingIpStep["kind"]> = (
  effects: FloatingIpEffects,
  floatingIp: FloatingIp,
  step: Extract<FloatingIpStep, { readonly kind: Kind }>,
  signal: AbortSignal,
) => Promise<FloatingIp | undefined>;

type Executors = { readonly [Kind in FloatingIpStep["kind"]]: Executor<Kind> };

const executors: Executors = {
  "write-finalizers": ({ client }, floatingIp, { finalizers }, signal) =>
    writeFinalizers(client, floatingIps, floatingIp, finalizers, signal),

  "apply-status": ({ client, stores }, floatingIp, { status }, signal) =>
    applyStatus({ client, resource: floatingIps, store: stores.floatingIps, signal }, floatingIp, status),

  "clear-holder": (effects, floatingIp, _, signal) => clearHolder(effects, floatingIp, signal),

  "count-failover": ({ metrics, memory }, floatingIp, { reason, causedAt }) => {
    metrics.floatingIpFailovers.inc({ reason });
    memory.moves.set(floatingIp.metadata.uid, { causedAt });
    return Promise.resolve(floatingIp);
  },

  "finish-failover": ({ metrics, memory, clock }, floatingIp, { causedAt }) => {
    metrics.floatingIpFailoverSeconds.observe((clock.monotonic() - causedAt) / 1000);
    memory.moves.delete(floatingIp.metadata.uid);
    return Promise.resolve(floatingIp);
  },

  "abandon-failover": ({ memory }, floatingIp) => {
    memory.moves.delete(floatingIp.metadata.uid);
    return Promise.resolve(floatingIp);
  },

  announce: ({ events }, floatingIp, { announcement: { type, reason, message } }) => {
    events.event(floatingIp, type, reason, message);
    return Promise.resolve(floatingIp);
  },
};

/**
 * Takes the address from a node. The field is the agent's, so that a server-side
 * apply that leaves it out would not remove it; a merge patch does. It is bound
 * to the version that was looked at: a node that is back and took the address
 * anew keeps it.
 */
const clearHolder = async (
  { client, stores }: FloatingIpEffects,
  floatingIp: FloatingIp,
  signal: AbortSignal,
): Promise<FloatingIp | undefined> => {
  const { uid, resourceVersion } = floatingIp.metadata;
  const patch = { metadata: { uid, resourceVersion }, status: { holder: null } };
  try {
    const options = { subresource: "status", signal } as const;
    const written = await client.mergePatch(floatingIps, keyOf(floatingIp), patch, options);
    await stores.floatingIps.whenSeen(written.metadata.resourceVersion, signal);
    return written;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
};

/**
 * Carries a decision out. Each write is bound to the version that the one
 * before it has made, so that the whole is one transaction in effect: whatever
 * comes between ends it with a conflict, and everything is looked at anew.
 *
 * Must be called in the same turn of the event loop as decide(): the address is
 * held before anything is awaited.
 */
export const applyFloatingIp = async (
  effects: FloatingIpEffects,
  floatingIp: FloatingIp,
  { steps, reserve }: FloatingIpDecision,
  signal: AbortSignal,
): Promise<void> => {
  const { reservations } = effects.memory;
  const { uid } = floatingIp.metadata;
  if (reserve !== undefined) reservations.set(uid, { address: reserve, owner: formatKey(keyOf(floatingIp)) });
  let current: FloatingIp | undefined = floatingIp;
  try {
    for (const step of steps) {
      if (current === undefined) break;
      current = await execute(effects, current, step, signal);
    }
  } catch (error) {
    if (error instanceof ApiError && !error.isConflict && !error.isRetryable) reservations.delete(uid);
    throw error;
  }
  if (current === undefined) reservations.delete(uid);
};

const execute = <Kind extends FloatingIpStep["kind"]>(
  effects: FloatingIpEffects,
  floatingIp: FloatingIp,
  step: Extract<FloatingIpStep, { readonly kind: Kind }>,
  signal: AbortSignal,
): Promise<FloatingIp | undefined> => executors[step.kind](effects, floatingIp, step, signal);
