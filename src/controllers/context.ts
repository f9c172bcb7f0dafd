import type { AddressSlice } from "../api/address-slice.ts";
import type { Flavor } from "../api/flavor.ts";
import type { FloatingIpPool } from "../api/floating-ip-pool.ts";
import type { FloatingIp } from "../api/floating-ip.ts";
import type { Hypervisor } from "../api/hypervisor.ts";
import type { Image } from "../api/image.ts";
import type { KeyPair } from "../api/key-pair.ts";
import type { Network } from "../api/network.ts";
import type { SecurityGroup } from "../api/security-group.ts";
import type { VirtualMachineMigration } from "../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import type { Volume } from "../api/volume.ts";
import type { Clock, EventRecorder, KubeClient, Lease, Logger, Metrics, Store } from "../kube/index.ts";
import type { ControllerMetrics } from "./metrics.ts";

/** The live copies that the controllers share. */
export interface Stores {
  /** With the indexes of stores.ts. */
  readonly virtualMachines: Store<VirtualMachine>;
  readonly volumes: Store<Volume>;
  readonly virtualMachineSnapshots: Store<VirtualMachineSnapshot>;
  readonly virtualMachineRestores: Store<VirtualMachineRestore>;
  readonly virtualMachineMigrations: Store<VirtualMachineMigration>;
  readonly images: Store<Image>;
  readonly flavors: Store<Flavor>;
  readonly keyPairs: Store<KeyPair>;
  readonly networks: Store<Network>;
  readonly hypervisors: Store<Hypervisor>;
  readonly securityGroups: Store<SecurityGroup>;
  readonly addressSlices: Store<AddressSlice>;
  readonly floatingIps: Store<FloatingIp>;
  readonly floatingIpPools: Store<FloatingIpPool>;
  /**
   * The Leases of the namespace vireo-system: the nodes' heartbeats, by the
   * node's name, and those by which nodes hold floating addresses, floating-NODE.
   */
  readonly leases: Store<Lease>;
}

/** What every controller works with. */
export interface ControllerContext {
  readonly client: KubeClient;
  readonly stores: Stores;
  readonly events: EventRecorder;
  readonly logger: Logger;
  readonly metrics: Metrics & ControllerMetrics;
  readonly clock: Clock;
}
