import { flavors } from "./flavor.ts";
import { hypervisors } from "./hypervisor.ts";
import { images } from "./image.ts";
import { keyPairs } from "./key-pair.ts";
import type { CustomResource } from "./kind.ts";
import { networks } from "./network.ts";
import { virtualMachines } from "./virtual-machine.ts";

/** Every kind of vireo.dev, in the order of the documentation. */
export const kinds: readonly CustomResource[] = [
  virtualMachines,
  images,
  flavors,
  keyPairs,
  networks,
  hypervisors,
];
