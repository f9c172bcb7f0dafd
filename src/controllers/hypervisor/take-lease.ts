import { isDeepStrictEqual } from "node:util";
import { type Hypervisor, hypervisors, SYSTEM_NAMESPACE } from "../../api/hypervisor.ts";
import { fenceLease, fenceMissingLease, leases } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import type { FenceReason } from "./fencing.ts";
import type { Sighting } from "./heartbeat.ts";

/**
 * Takes a silent node's heartbeat Lease. A watch may be late without anybody
 * noticing, so that both objects are read once more: the node may have renewed,
 * taken back that it resets itself, or somebody that it is off. False: so it is,
 * and everything is to be looked at anew.
 */
export const takeLease = async (
  client: ControllerContext["client"],
  { hypervisor, sighting, reason }: Target,
  signal: AbortSignal,
): Promise<boolean> => {
  const { name, uid } = hypervisor.metadata;
  const now = await client.get(hypervisors, { name }, { signal });
  if (now?.metadata.uid !== uid || !isStillGround(now, hypervisor, reason)) return false;
  const key = { namespace: SYSTEM_NAMESPACE, name };
  const lease = await client.get(leases, key, { signal });
  if (lease === undefined) return fenceMissingLease(client, key, { signal });
  if (lease.spec.renewTime !== sighting.renewTime) return false;
  return fenceLease(client, lease, { signal });
};

interface Target {
  readonly hypervisor: Hypervisor;
  readonly sighting: Sighting;
  readonly reason: FenceReason;
}

const isStillGround = (now: Hypervisor, then: Hypervisor, reason: FenceReason): boolean =>
  reason === "OutOfService"
    ? now.spec.outOfService
    : now.status?.selfFencing !== undefined &&
      isDeepStrictEqual(now.status.selfFencing, then.status?.selfFencing);
