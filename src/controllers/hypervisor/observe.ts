import { type Hypervisor, SYSTEM_NAMESPACE } from "../../api/hypervisor.ts";
import type { Lease, ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { lookAtHeartbeat, type Sighting } from "./heartbeat.ts";
import { isLost } from "./status.ts";

export interface HypervisorFacts {
  readonly hypervisor: Hypervisor;
  readonly sighting: Sighting;
  readonly lease: Lease | undefined;
}

/**
 * @param sightings what this process saw of each node so far, by uid; brought up to date here
 * @param now monotonic ms
 */
export const observeHypervisor = (
  stores: Stores,
  key: ObjectKey,
  sightings: Map<string, Sighting>,
  now: number,
): HypervisorFacts | undefined => {
  const hypervisor = stores.hypervisors.get(key);
  if (hypervisor === undefined) return undefined;
  const { uid, name } = hypervisor.metadata;
  const lease = stores.leases.get({ namespace: SYSTEM_NAMESPACE, name });
  const sighting = lookAtHeartbeat({
    lease,
    previous: sightings.get(uid),
    saidLost: isLost(hypervisor),
    now,
  });
  sightings.set(uid, sighting);
  return { hypervisor, sighting, lease };
};
