import type { CachedImageStatus, Hypervisor } from "../../api/hypervisor.ts";
import type { Acceleration } from "../../api/hypervisor.ts";
import type { Firmware } from "../../api/virtual-machine.ts";

/** What a machine takes of a node for as long as it exists, running or not. */
export interface Resources {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
}

/** What a machine asks of its node. */
export interface PlacementRequest extends Resources {
  readonly imageUid: string;
  readonly firmware: Firmware;
  readonly availabilityZone?: string | undefined;
  readonly nodeSelector: Readonly<Record<string, string>>;
}

/** Does the node take machines? `message` says why not. */
export type Readiness = { readonly kind: "ready" } | { readonly kind: "not-ready"; readonly message: string };

/** A node as the scheduler sees it. */
export interface Candidate {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly readiness: Readiness;
  readonly unschedulable: boolean;
  readonly zone?: string | undefined;
  readonly acceleration?: Acceleration | undefined;
  readonly firmwares: readonly Firmware[];
  /** What may be given out in all, overcommit included. */
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

export const noResources: Resources = { vcpus: 0, memoryMiB: 0, diskMiB: 0 };

export const addResources = (a: Resources, b: Resources): Resources => ({
  vcpus: a.vcpus + b.vcpus,
  memoryMiB: a.memoryMiB + b.memoryMiB,
  diskMiB: a.diskMiB + b.diskMiB,
});

export const subtractResources = (a: Resources, b: Resources): Resources => ({
  vcpus: a.vcpus - b.vcpus,
  memoryMiB: a.memoryMiB - b.memoryMiB,
  diskMiB: a.diskMiB - b.diskMiB,
});

const READY = "Ready";

/** The scheduler's view of a Hypervisor. */
export const candidateOf = (hypervisor: Hypervisor, allocated: Resources): Candidate => {
  const { metadata, spec, status } = hypervisor;
  return {
    name: metadata.name,
    labels: metadata.labels ?? {},
    readiness: readinessOf(hypervisor),
    unschedulable: spec.unschedulable,
    zone: status?.zone,
    acceleration: status?.acceleration,
    firmwares: status?.firmwares ?? [],
    allocatable: allocatableOf(hypervisor),
    allocated,
    images: status?.images ?? [],
  };
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
    diskMiB: capacity.diskMiB,
  };
};
