import { addressSlices } from "../api/address-slice.ts";
import { flavors } from "../api/flavor.ts";
import { floatingIpPools } from "../api/floating-ip-pool.ts";
import { floatingIps } from "../api/floating-ip.ts";
import { hypervisors, SYSTEM_NAMESPACE } from "../api/hypervisor.ts";
import { images } from "../api/image.ts";
import { keyPairs } from "../api/key-pair.ts";
import type { KubernetesObject } from "../api/meta.ts";
import { networks } from "../api/network.ts";
import type { Resource } from "../api/resource.ts";
import { securityGroups } from "../api/security-group.ts";
import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import { createStore, leases, type Store, type StoreOptions } from "../kube/index.ts";
import type { ControllerContext, Stores } from "./context.ts";

/** Machines by the node that they were placed on. */
export const BY_NODE = "byNode";
/** Machines by the Networks that they have an address of. */
export const BY_NETWORK = "byNetwork";
/** The machine of that uid. */
export const BY_UID = "byUid";
/** Machines without a node, under the value UNPLACED. */
export const BY_PLACEMENT = "byPlacement";
export const UNPLACED = "unplaced";

/** Pure, so that the store can keep the indexes. */
export const machineIndexes = {
  [BY_NODE]: ({ status }: VirtualMachine) => (status?.nodeName === undefined ? [] : [status.nodeName]),
  [BY_NETWORK]: ({ status }: VirtualMachine) =>
    (status?.allocation?.interfaces ?? []).map(({ network }) => network),
  [BY_UID]: ({ metadata }: VirtualMachine) => [metadata.uid],
  [BY_PLACEMENT]: ({ status }: VirtualMachine) => (status?.nodeName === undefined ? [UNPLACED] : []),
};

type StoreContext = Pick<ControllerContext, "client" | "logger" | "metrics" | "clock">;

/** Makes the stores; nothing is read before they are run. */
export const createStores = ({ client, logger, metrics, clock }: StoreContext): Stores => {
  const store = <T extends KubernetesObject>(
    resource: Resource<T>,
    options: Pick<StoreOptions<T>, "indexes" | "namespace"> = {},
  ): Store<T> => createStore({ client, resource, logger, metrics, clock, ...options });
  return {
    virtualMachines: store(virtualMachines, { indexes: machineIndexes }),
    images: store(images),
    flavors: store(flavors),
    keyPairs: store(keyPairs),
    networks: store(networks),
    hypervisors: store(hypervisors),
    securityGroups: store(securityGroups),
    addressSlices: store(addressSlices),
    floatingIps: store(floatingIps),
    floatingIpPools: store(floatingIpPools),
    leases: store(leases, { namespace: SYSTEM_NAMESPACE }),
  };
};
