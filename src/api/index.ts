import { addressSlices } from "./address-slice.ts";
import { flavors } from "./flavor.ts";
import { floatingIpPools } from "./floating-ip-pool.ts";
import { floatingIps } from "./floating-ip.ts";
import { hypervisors } from "./hypervisor.ts";
import { images } from "./image.ts";
import { keyPairs } from "./key-pair.ts";
import type { CustomResource } from "./kind.ts";
import { networks } from "./network.ts";
import { securityGroups } from "./security-group.ts";
import { virtualMachineMigrations } from "./virtual-machine-migration.ts";
import { virtualMachineRestores } from "./virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "./virtual-machine-snapshot.ts";
import { virtualMachines } from "./virtual-machine.ts";
import { volumes } from "./volume.ts";

/** Every kind of vireo.dev, in the order of the documentation. */
export const kinds: readonly CustomResource[] = [
  virtualMachines,
  volumes,
  virtualMachineSnapshots,
  virtualMachineRestores,
  virtualMachineMigrations,
  images,
  flavors,
  keyPairs,
  networks,
  securityGroups,
  floatingIps,
  floatingIpPools,
  hypervisors,
  addressSlices,
];
