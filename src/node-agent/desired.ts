import type { Acceleration } from "../api/hypervisor.ts";
import { LOCAL_POOL } from "../api/storage-pool.ts";
import type { VirtualMachine, VirtualMachineAllocation } from "../api/virtual-machine.ts";
import type { Volume } from "../api/volume.ts";
import { parseQuantity } from "../api/quantity.ts";
import type { Seed } from "./cloud-init/types.ts";
import type { DiskLayers, Domain, DomainCdrom, DomainDisk } from "./domains/types.ts";
import type { FloatingTarget } from "./reconcilers/floating/floating-claims.ts";
import { type Link, type Tap, tapName } from "./links/types.ts";
import type { CachedImage, DiskChain, DiskRef } from "./volumes/types.ts";

/**
 * What objects mean for each room of this node: pure translations from the
 * object to desired values. Nothing is looked up and nothing chosen.
 */

/** A machine that the controller has placed: its allocation is complete. */
export interface PlacedMachine {
  readonly machine: VirtualMachine;
  readonly allocation: VirtualMachineAllocation;
}

/** Undefined while the controller has not written the allocation. */
export const placed = (machine: VirtualMachine): PlacedMachine | undefined => {
  const allocation = machine.status?.allocation;
  return allocation === undefined ? undefined : { machine, allocation };
};

/** The host name that the guest gets: spec.hostname, or the machine's name as one DNS label. */
export const hostnameOf = (machine: VirtualMachine): string =>
  machine.spec.hostname ?? machine.metadata.name.replaceAll(".", "-").slice(0, 63).replace(/-+$/, "");

/** Where the root disk of a machine is. */
export const rootDiskOf = ({ machine, allocation }: PlacedMachine): DiskRef => ({
  pool: allocation.pool ?? LOCAL_POOL,
  kind: "root",
  uid: machine.metadata.uid,
});

/** Where the disk of a Volume is. */
export const volumeDiskOf = ({ metadata, spec }: Volume): DiskRef => ({
  pool: spec.pool,
  kind: "volume",
  uid: metadata.uid,
});

const MiB = 2 ** 20;

/** Size that the Volume is to have. */
export const volumeSizeMiB = ({ spec }: Volume): number => parseQuantity(spec.size) / MiB;

/** Size that a disk has, in whole MiB. */
export const chainSizeMiB = ({ virtualSizeBytes }: DiskChain): number => Math.floor(virtualSizeBytes / MiB);

/** What the guest's seed says of user data and network, when it is not in spec: see seed-source.ts. */
export interface SeedSecrets {
  readonly userData?: string | undefined;
  readonly networkData?: string | undefined;
}

/** Whether part of the seed is in Secrets, which only the API server reads. */
export const needsSecrets = ({ machine: { spec } }: PlacedMachine): boolean =>
  spec.cloudInit?.userDataSecretRef !== undefined || spec.cloudInit?.networkDataSecretRef !== undefined;

export const desiredSeed = ({ machine, allocation }: PlacedMachine, secrets: SeedSecrets = {}): Seed => {
  const userData = secrets.userData ?? machine.spec.cloudInit?.userData;
  const { networkData } = secrets;
  return {
    vmUid: machine.metadata.uid,
    hostname: hostnameOf(machine),
    sshPublicKeys: allocation.sshPublicKeys,
    ...(userData === undefined ? {} : { userData }),
    ...(networkData === undefined ? {} : { networkData }),
    interfaces: allocation.interfaces,
  };
};

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

/** The files of a disk, as the guest's description names them. */
const layersOf = ({ path, backing }: DiskChain): DiskLayers => [
  { path, format: "qcow2" },
  ...backing.map((layer) => ({ path: layer.path, format: layer.format, shared: layer.isImage })),
];

/** A Volume that a machine was given, with its disk. */
export interface VolumeDisk {
  readonly name: string;
  readonly uid: string;
  readonly chain: DiskChain;
}

/** What a guest is made of, beside what the machine says itself. */
export interface GuestParts {
  readonly acceleration: Acceleration;
  readonly rootDisk: DiskChain;
  readonly volumes: readonly VolumeDisk[];
  /** Images of its CD-ROMs, by UID. */
  readonly cdroms: ReadonlyMap<string, CachedImage>;
  readonly seedPath: string;
  readonly taps: readonly Tap[];
}

export const desiredVolumes = (
  { machine }: PlacedMachine,
  volumes: readonly VolumeDisk[],
): readonly DomainDisk[] =>
  volumes.map(({ name, uid, chain }) => {
    const asked = machine.spec.volumes.find((volume) => volume.name === name);
    return { uid, name, bus: asked?.bus ?? "VirtIO", layers: layersOf(chain), bootOrder: asked?.bootOrder };
  });

export const desiredCdroms = (
  { machine, allocation }: PlacedMachine,
  images: ReadonlyMap<string, CachedImage>,
): readonly DomainCdrom[] =>
  (allocation.cdroms ?? []).flatMap(({ name, uid }) => {
    const image = images.get(uid);
    if (image === undefined) return [];
    const bootOrder = machine.spec.cdroms.find((cdrom) => cdrom.image === name)?.bootOrder;
    return [{ uid, name, path: image.path, bootOrder }];
  });

export const desiredDomain = (target: PlacedMachine, parts: GuestParts): Domain => {
  const { machine, allocation } = target;
  const { metadata, spec } = machine;
  const { vcpus, maxVcpus, memoryMiB, maxMemoryMiB } = allocation.flavor;
  return {
    vmUid: metadata.uid,
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    acceleration: parts.acceleration,
    vcpus,
    maxVcpus,
    memoryMiB,
    maxMemoryMiB,
    cpu: spec.cpu,
    hugePageSize: spec.hugePages?.pageSize,
    firmware: spec.firmware,
    tpm: spec.tpm,
    graphics: spec.graphics,
    rootDisk: { layers: layersOf(parts.rootDisk), bootOrder: spec.rootDisk.bootOrder },
    volumes: desiredVolumes(target, parts.volumes),
    cdroms: desiredCdroms(target, parts.cdroms),
    seedPath: parts.seedPath,
    interfaces: parts.taps.map((tap) => ({
      network: tap.network,
      tap: tap.name,
      macAddress: tap.macAddress,
      mtu: tap.mtu,
      bootOrder: spec.networks.find(({ name }) => name === tap.network)?.bootOrder,
    })),
  };
};
