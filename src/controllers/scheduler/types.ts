import type { CachedImageStatus, Hypervisor } from "../../api/hypervisor.ts";
import type { Acceleration } from "../../api/hypervisor.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { Firmware } from "../../api/virtual-machine.ts";

/** What a machine takes of a node for as long as it exists, running or not. */
export interface Resources {
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Disk in MiB, by storage pool. */
  readonly disks: Readonly<Record<string, number>>;
}

/** What a machine asks of its node. */
export interface PlacementRequest extends Resources {
  /** UIDs of the images that it starts from or has as CD-ROMs. */
  readonly images: readonly string[];
  /** Those of images that only nodes have that hold them by now, and why. */
  readonly unreachableImages: readonly UnreachableImage[];
  /** Storage pools that it needs beside those of disks. */
  readonly pools: readonly string[];
  /** Data that the machine has to go to; absent when there are none. */
  readonly data?: DataPlace | undefined;
  readonly firmware: Firmware;
  readonly tpm: boolean;
  readonly availabilityZone?: string | undefined;
  readonly nodeSelector: Readonly<Record<string, string>>;
}

/** An image that is made out of a disk, and whose node gives no sign of life. */
export interface UnreachableImage {
  readonly uid: string;
  readonly nodeName: string;
}

/** A disk that is on one node only. */
export interface DataPlace {
  readonly nodeName: string;
  /** Which disk, for example "Volume data". */
  readonly what: string;
}

/** Does the node take machines? `message` says why not. */
export type Readiness = { readonly kind: "ready" } | { readonly kind: "not-ready"; readonly message: string };

/** A node as the scheduler sees it. */
export interface Candidate {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly readiness: Readiness;
  /** Why the administrator keeps new machines away, as the rest of a sentence; absent when he does not. */
  readonly closed?: string | undefined;
  readonly zone?: string | undefined;
  readonly acceleration?: Acceleration | undefined;
  readonly firmwares: readonly Firmware[];
  readonly tpm: boolean;
  /** What may be given out in all, overcommit included; of disks, all storage pools that the node has. */
  readonly allocatable: Resources;
  /** What is given out: to machines placed here, and to those whose placement is being written. */
  readonly allocated: Resources;
  readonly images: readonly CachedImageStatus[];
}

/** Why one node cannot take the machine. */
export interface Rejection {
  readonly node: string;
  readonly message: string;
}

export type Placement =
  | { readonly kind: "placed"; readonly node: string; readonly considered: number; readonly fitting: number }
  | { readonly kind: "unschedulable"; readonly rejections: readonly Rejection[] };

export const noResources: Resources = { vcpus: 0, memoryMiB: 0, disks: {} };

export const addResources = (a: Resources, b: Resources): Resources => ({
  vcpus: a.vcpus + b.vcpus,
  memoryMiB: a.memoryMiB + b.memoryMiB,
  disks: addDisks(a.disks, b.disks, 1),
});

export const subtractResources = (a: Resources, b: Resources): Resources => ({
  vcpus: a.vcpus - b.vcpus,
  memoryMiB: a.memoryMiB - b.memoryMiB,
  disks: addDisks(a.disks, b.disks, -1),
});

/** Pools of which nothing is left are left out, so that what is equal looks equal. */
const addDisks = (
  a: Resources["disks"],
  b: Resources["disks"],
  sign: 1 | -1,
): Readonly<Record<string, number>> => {
  const pools = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  const sums = pools.map((pool) => [pool, (a[pool] ?? 0) + sign * (b[pool] ?? 0)] as const);
  return Object.fromEntries(sums.filter(([, sum]) => sum !== 0));
};

const READY = "Ready";

/**
 * The scheduler's view of a Hypervisor.
 *
 * @param allocated to machines and Volumes of this node
 * @param allocatedIn to those of all nodes, in MiB: of a shared pool, all count
 */
export const candidateOf = (
  hypervisor: Hypervisor,
  allocated: Resources,
  allocatedIn: (pool: string) => number = () => 0,
): Candidate => {
  const { metadata, status } = hypervisor;
  return {
    name: metadata.name,
    labels: metadata.labels ?? {},
    readiness: readinessOf(hypervisor),
    closed: closureOf(hypervisor),
    zone: status?.zone,
    acceleration: status?.acceleration,
    firmwares: status?.firmwares ?? [],
    tpm: status?.tpm ?? false,
    allocatable: allocatableOf(hypervisor),
    allocated: { ...allocated, disks: { ...allocated.disks, ...sharedDisks(hypervisor, allocatedIn) } },
    images: status?.images ?? [],
  };
};

const closureOf = ({ spec }: Hypervisor): string | undefined => {
  if (spec.outOfService) return "is out of service (spec.outOfService)";
  if (spec.drain) return "is being emptied (spec.drain)";
  return spec.unschedulable ? "is cordoned (spec.unschedulable)" : undefined;
};

const sharedDisks = (
  { status }: Hypervisor,
  allocatedIn: (pool: string) => number,
): Readonly<Record<string, number>> => {
  const shared = (status?.storagePools ?? []).filter((pool) => pool.shared);
  return Object.fromEntries(shared.map(({ name }) => [name, allocatedIn(name)]));
};

const readinessOf = ({ status }: Hypervisor): Readiness => {
  const ready = status?.conditions?.find((condition) => condition.type === READY);
  if (ready === undefined) return { kind: "not-ready", message: "its agent has not reported yet" };
  if (ready.status === "True") return { kind: "ready" };
  return { kind: "not-ready", message: `is not ready (${ready.reason})` };
};

/** Capacity with overcommit, rounded down. Disk is never overcommitted: a full file system stops every guest. */
const allocatableOf = ({ spec, status }: Hypervisor): Resources => {
  const capacity = status?.capacity;
  if (capacity === undefined) return noResources;
  return {
    vcpus: Math.floor((capacity.cpus * spec.cpuOvercommitPercent) / 100),
    memoryMiB: Math.floor((capacity.memoryMiB * spec.memoryOvercommitPercent) / 100),
    disks: {
      ...Object.fromEntries((status?.storagePools ?? []).map((pool) => [pool.name, pool.capacityMiB])),
      [LOCAL_POOL]: capacity.diskMiB,
    },
  };
};
