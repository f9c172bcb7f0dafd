import type { Hypervisor } from "../../api/hypervisor.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { isShared } from "../disk-source/judge.ts";
import { addResources, type Candidate, type PlacementRequest, type Resources } from "../scheduler/types.ts";

import { takenBy, volumeSizeMiB } from "./size.ts";

/** Pure: what a machine that has a node asks of another one. */

export interface RelocationFacts {
  readonly machine: VirtualMachine;
  /** The node that has the machine; undefined when there is no Hypervisor of that name. */
  readonly hypervisor: Hypervisor | undefined;
  /** The Volumes that the machine was given. */
  readonly givenVolumes: readonly Volume[];
  /** All nodes, with what they have given out. */
  readonly nodes: readonly NodeView[];
}

export interface NodeView {
  readonly hypervisor: Hypervisor;
  readonly candidate: Candidate;
}

/** A disk of the machine, as far as its place is concerned. */
interface MachineDisk {
  /** As people call it: "its root disk", "Volume data". */
  readonly name: string;
  readonly pool: string;
  readonly sizeMiB: number;
}

const ROOT = "its root disk";

const disksOf = ({
  machine,
  givenVolumes,
}: Pick<RelocationFacts, "machine" | "givenVolumes">): readonly MachineDisk[] => {
  const { pool = LOCAL_POOL, flavor } = machine.status?.allocation ?? {};
  return [
    { name: ROOT, pool, sizeMiB: flavor?.diskMiB ?? 0 },
    ...givenVolumes.map((volume) => ({
      name: `Volume ${volume.metadata.name}`,
      pool: volume.spec.pool,
      sizeMiB: volumeSizeMiB(volume),
    })),
  ];
};

export interface SortedDisks {
  /** Disks that all nodes see which have their pools. */
  readonly shared: readonly MachineDisk[];
  /** Disks that only the machine's node has. */
  readonly local: readonly MachineDisk[];
}

/** The machine's disks by whether other nodes see them. Of a node that is gone nothing is known, so that all count as its own. */
export const sortDisks = (
  facts: Pick<RelocationFacts, "machine" | "givenVolumes" | "hypervisor">,
): SortedDisks => {
  const disks = disksOf(facts);
  const seenByOthers = ({ pool }: MachineDisk): boolean => isShared(facts.hypervisor, pool);
  return { shared: disks.filter(seenByOthers), local: disks.filter((disk) => !seenByOthers(disk)) };
};

/** The files in shared pools stay where they are, so that only the pools are asked for. */
export const relocationRequest = (facts: RelocationFacts): PlacementRequest => {
  const { machine, nodes } = facts;
  const { shared, local } = sortDisks(facts);
  const { image, cdroms = [] } = machine.status?.allocation ?? {};
  const { firmware, tpm, availabilityZone, nodeSelector } = machine.spec;
  const isImageBelow = image !== undefined && local.some(({ name }) => name === ROOT);
  const images = [...(isImageBelow ? [image] : []), ...cdroms];
  return {
    ...demandOf(machine, local),
    images: images.map(({ uid }) => uid),
    unreachableImages: images.flatMap(({ uid, nodeName }) =>
      nodeName === undefined || isReady(nodes, nodeName) ? [] : [{ uid, nodeName }],
    ),
    pools: [...new Set(shared.map(({ pool }) => pool))],
    firmware,
    tpm,
    availabilityZone,
    nodeSelector: nodeSelector ?? {},
  };
};

const demandOf = (machine: VirtualMachine, local: readonly MachineDisk[]): Resources =>
  local
    .map(({ pool, sizeMiB }) => ({ vcpus: 0, memoryMiB: 0, disks: { [pool]: sizeMiB } }))
    .reduce<Resources>(addResources, { ...takenBy(machine), disks: {} });

const isReady = (nodes: readonly NodeView[], nodeName: string): boolean =>
  nodes.some(({ candidate }) => candidate.name === nodeName && candidate.readiness.kind === "ready");

/**
 * The nodes that the machine could go to, its own left out. What a machine that
 * has a node asks beyond what a new one does is said as a reason to stay away.
 */
export const relocationCandidates = (
  facts: RelocationFacts,
  { isOn }: { readonly isOn: boolean },
): readonly Candidate[] => {
  const { pools } = relocationRequest(facts);
  return facts.nodes
    .filter(({ candidate }) => candidate.name !== facts.machine.status?.nodeName)
    .map(({ hypervisor, candidate }) =>
      closedFor(candidate, unfitnessOf(facts.hypervisor, hypervisor, { pools, isOn })),
    );
};

const closedFor = (candidate: Candidate, unfit: string | undefined): Candidate =>
  unfit === undefined ? candidate : { ...candidate, closed: candidate.closed ?? unfit };

const unfitnessOf = (
  from: Hypervisor | undefined,
  to: Hypervisor,
  { pools, isOn }: { readonly pools: readonly string[]; readonly isOn: boolean },
): string | undefined => {
  const own = pools.find((pool) => hasUnsharedPool(to, pool));
  if (own !== undefined) return `has a storage pool ${own} of its own, which is not the shared one`;
  const [here, there] = [from?.status, to.status];
  if (here?.architecture !== undefined && here.architecture !== there?.architecture)
    return `has processors of another kind (${there?.architecture ?? "unknown"}, not ${here.architecture})`;
  if (isOn && here?.acceleration !== there?.acceleration)
    return `runs guests by ${there?.acceleration ?? "unknown means"}, and this one runs by ${here?.acceleration ?? "unknown means"}; it can go there when it is off`;
  return undefined;
};

const hasUnsharedPool = ({ status }: Hypervisor, pool: string): boolean =>
  (status?.storagePools ?? []).some(({ name, shared }) => name === pool && !shared);
