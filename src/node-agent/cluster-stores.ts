import { addressSlices, type AddressSlice } from "../api/address-slice.ts";
import { networks, type Network } from "../api/network.ts";
import { securityGroups, type SecurityGroup } from "../api/security-group.ts";
import { createStore, type KubeClient, type Logger, type Metrics, type Store } from "../kube/index.ts";

/** What the agent reads of the whole cluster, and never writes: who is where, and who may reach whom. */
export interface ClusterStores {
  readonly networks: Store<Network>;
  readonly securityGroups: Store<SecurityGroup>;
  readonly addressSlices: Store<AddressSlice>;
}

export const createClusterStores = (context: {
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics: Metrics;
}): ClusterStores => ({
  networks: createStore({ ...context, resource: networks }),
  securityGroups: createStore({ ...context, resource: securityGroups }),
  addressSlices: createStore({ ...context, resource: addressSlices }),
});

/** Before all of them are in sync, routes and members are missing that somebody relies on. */
export const whenClusterSynced = async (stores: ClusterStores, signal: AbortSignal): Promise<void> => {
  await Promise.all(Object.values(stores).map((store: Store<never>) => store.whenSynced(signal)));
};
