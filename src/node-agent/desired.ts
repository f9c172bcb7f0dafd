import type { AllocatedImage, VirtualMachine, VirtualMachineAllocation } from "../api/virtual-machine.ts";
import type { Acceleration } from "../api/hypervisor.ts";
import type { Seed } from "./cloud-init/types.ts";
import type { RootDisk, RootDiskOutcome } from "./disks/types.ts";
import type { Domain } from "./domains/types.ts";
import type { FloatingTarget } from "./floating-claims.ts";
import { type Link, type Tap, tapName } from "./links/types.ts";

/**
 * What a VirtualMachine means for each room of this node: pure translations
 * from the object to desired values. Nothing is looked up and nothing chosen.
 */

/** A machine that the controller has placed: its allocation is complete. */
export interface PlacedMachine {
  readonly machine: VirtualMachine;
  readonly allocation: VirtualMachineAllocation & { readonly image: AllocatedImage };
}

/** Undefined while the controller has not written the allocation. */
export const placed = (machine: VirtualMachine): PlacedMachine | undefined => {
  const allocation = machine.status?.allocation;
  if (allocation?.image === undefined) return undefined;
  return { machine, allocation: { ...allocation, image: allocation.image } };
};

/** The host name that the guest gets: spec.hostname, or the machine's name as one DNS label. */
export const hostnameOf = (machine: VirtualMachine): string =>
  machine.spec.hostname ?? machine.metadata.name.replaceAll(".", "-").slice(0, 63).replace(/-+$/, "");

export const desiredRootDisk = ({ machine, allocation }: PlacedMachine): RootDisk => ({
  vmUid: machine.metadata.uid,
  sizeMiB: allocation.flavor.diskMiB,
  image: allocation.image,
});

export const desiredSeed = ({ machine, allocation }: PlacedMachine): Seed => ({
  vmUid: machine.metadata.uid,
  hostname: hostnameOf(machine),
  sshPublicKeys: allocation.sshPublicKeys,
  ...(machine.spec.cloudInit?.userData === undefined ? {} : { userData: machine.spec.cloudInit.userData }),
  interfaces: allocation.interfaces,
});

export const desiredLink = ({ machine, allocation }: PlacedMachine): Link => ({
  vmUid: machine.metadata.uid,
  interfaces: allocation.interfaces,
});

/** Where floating addresses may lead to on this node. */
export const floatingTargets = (machines: readonly VirtualMachine[]): readonly FloatingTarget[] =>
  machines
    .flatMap((machine) => placed(machine) ?? [])
    .flatMap(({ machine, allocation }) =>
      allocation.interfaces.map(({ network, address, vni }) => ({
        machineUid: machine.metadata.uid,
        guestAddress: address,
        vni,
        tap: tapName(machine.metadata.uid, network),
      })),
    );

export const desiredDomain = (
  { machine, allocation }: PlacedMachine,
  parts: {
    readonly acceleration: Acceleration;
    readonly rootDisk: Extract<RootDiskOutcome, { kind: "ready" }>;
    readonly seedPath: string;
    readonly taps: readonly Tap[];
  },
): Domain => ({
  vmUid: machine.metadata.uid,
  namespace: machine.metadata.namespace ?? "",
  name: machine.metadata.name,
  acceleration: parts.acceleration,
  vcpus: allocation.flavor.vcpus,
  maxVcpus: allocation.flavor.maxVcpus,
  memoryMiB: allocation.flavor.memoryMiB,
  maxMemoryMiB: allocation.flavor.maxMemoryMiB,
  cpu: machine.spec.cpu,
  hugePageSize: machine.spec.hugePages?.pageSize,
  firmware: machine.spec.firmware,
  tpm: machine.spec.tpm,
  graphics: machine.spec.graphics,
  rootDisk: {
    layers: [
      { path: parts.rootDisk.path, format: "qcow2" },
      { ...parts.rootDisk.backing, shared: true },
    ],
    bootOrder: machine.spec.rootDisk.bootOrder,
  },
  volumes: [],
  cdroms: [],
  seedPath: parts.seedPath,
  interfaces: parts.taps.map((tap) => ({
    network: tap.network,
    tap: tap.name,
    macAddress: tap.macAddress,
    mtu: tap.mtu,
    bootOrder: machine.spec.networks.find(({ name }) => name === tap.network)?.bootOrder,
  })),
});
