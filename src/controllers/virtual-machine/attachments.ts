import type { Image } from "../../api/image.ts";
import type { AllocatedImage, VirtualMachine, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { allocateImage } from "../image/allocate.ts";
import type { NodeReport } from "../image/judge.ts";
import { cdromProblem } from "./image-checks.ts";
import { volumeSizeMiB } from "./size.ts";
import { INSUFFICIENT_CAPACITY, missing, passing, type Violation } from "./violation.ts";

/**
 * The volumes and CD-ROMs of a machine: what of its spec it can have at this
 * moment. They come and go while the machine lives, so that this is asked
 * before it is placed and ever after.
 */

export interface VolumeUse {
  readonly name: string;
  readonly volume: Volume | undefined;
  /** Do all nodes that have its storage pool see its data? */
  readonly isShared: boolean;
}

export interface CdromUse {
  readonly name: string;
  readonly image: Image | undefined;
  readonly reports: readonly NodeReport[];
}

/** The node that a machine is on, as far as its disks are concerned. */
export interface DiskPlace {
  readonly nodeName: string;
  /** What is free in each of its storage pools, in MiB. */
  readonly freeMiB: Readonly<Record<string, number>>;
}

export interface Attachments<T> {
  /** What the machine can have, in the order of its spec. */
  readonly allocated: readonly T[];
  /** Why it cannot have the first of the others. */
  readonly violation: Violation | undefined;
}

type AllocatedVolume = NonNullable<VirtualMachineAllocation["volumes"]>[number];

/** @param place undefined while the machine has none: any node will do */
export const judgeVolumes = (
  machine: VirtualMachine,
  uses: readonly VolumeUse[],
  place: DiskPlace | undefined,
): Attachments<AllocatedVolume> => {
  const problems = uses.map((use, index) => {
    // Those before it that are about to be made on the node have the room first.
    const earlier = uses.slice(0, index).filter(({ volume }) => isToBeMade(machine, volume));
    return volumeProblem(machine, use, place && without(place, earlier));
  });
  const allocated = uses
    .filter((_, index) => problems[index] === undefined)
    .flatMap(({ name, volume }) => (volume === undefined ? [] : [{ name, uid: volume.metadata.uid }]));
  const violation = problems.find((problem) => problem !== undefined) ?? pendingDetach(machine);
  return { allocated, violation };
};

/** Is it a Volume without a node that the machine brings to its own, where it has not been given it yet? */
const isToBeMade = ({ status }: VirtualMachine, volume: Volume | undefined): volume is Volume =>
  volume !== undefined &&
  volume.status?.nodeName === undefined &&
  !(status?.allocation?.volumes ?? []).some(({ uid }) => uid === volume.metadata.uid);

const without = (place: DiskPlace, taken: readonly VolumeUse[]): DiskPlace => {
  const freeMiB = { ...place.freeMiB };
  for (const { volume } of taken)
    if (volume !== undefined)
      freeMiB[volume.spec.pool] = (freeMiB[volume.spec.pool] ?? 0) - volumeSizeMiB(volume);
  return { ...place, freeMiB };
};

const TAKE_OUT = "or take it out of spec.volumes";

/**
 * A guest does not lose a disk that it was given because of what is not known at
 * this moment: only when the Volume is gone or another machine's.
 */
const volumeProblem = (
  { metadata, status }: VirtualMachine,
  { name, volume, isShared }: VolumeUse,
  place: DiskPlace | undefined,
): Violation | undefined => {
  if (volume === undefined)
    return missing(
      "VolumeNotFound",
      `Volume ${name} does not exist in namespace ${metadata.namespace}. Make it there, ${TAKE_OUT}.`,
    );
  const { attachedTo } = volume.status ?? {};
  if (attachedTo !== undefined && attachedTo.uid !== metadata.uid)
    return passing(
      "VolumeInUse",
      `Volume ${name} is in use by VirtualMachine ${attachedTo.name}. Take it out of that machine's spec.volumes first, ${TAKE_OUT}.`,
    );
  if (status?.allocation?.volumes?.some(({ uid }) => uid === volume.metadata.uid)) return undefined;
  if (attachedTo === undefined)
    return missing(
      "VolumeNotReserved",
      volume.metadata.deletionTimestamp === undefined
        ? `Volume ${name} is not reserved for the machine yet; its status says why.`
        : `Volume ${name} is being deleted. Make another one, ${TAKE_OUT}.`,
    );
  return place && placeProblem(volume, isShared, place);
};

/** Can the disk be had on the machine's node? */
const placeProblem = (volume: Volume, isShared: boolean, place: DiskPlace): Violation | undefined => {
  const { name } = volume.metadata;
  const { pool } = volume.spec;
  const nodeName = volume.status?.nodeName;
  const freeMiB = place.freeMiB[pool];
  if (freeMiB === undefined)
    return passing(
      "StoragePoolNotFound",
      `Volume ${name} is in storage pool ${pool}, which node ${place.nodeName} of the machine does not have. Name a Volume of another pool, ${TAKE_OUT}.`,
    );
  if (nodeName === undefined && freeMiB < volumeSizeMiB(volume))
    return passing(
      INSUFFICIENT_CAPACITY,
      `Node ${place.nodeName} of the machine has too little disk free in storage pool ${pool} for the ${volumeSizeMiB(volume)} MiB of Volume ${name}. Delete Volumes or machines of the node that are not needed, ${TAKE_OUT}.`,
    );
  if (nodeName === undefined || nodeName === place.nodeName || isShared) return undefined;
  return passing(
    "VolumesOnDifferentNodes",
    `Volume ${name} is on node ${nodeName}, and the machine on node ${place.nodeName}. Name a Volume of that node, ${TAKE_OUT}.`,
  );
};

/** Its agent has asked the guest to let go of a disk. */
const pendingDetach = ({ status }: VirtualMachine): Violation | undefined => {
  const names = (status?.guest?.volumes ?? [])
    .filter(({ state }) => state === "Detaching")
    .map(({ name }) => name);
  if (names.length === 0) return undefined;
  const subject = names.length === 1 ? `Volume ${names[0]}` : `Volumes ${names.join(", ")}`;
  return passing(
    "DetachPending",
    `The guest was asked to let go of ${subject} and has not done so yet. Should it take long, unmount in the guest what is on it, or restart the guest.`,
  );
};

/**
 * A CD-ROM stays what it was when it was put in, whatever becomes of the Image,
 * until another Image has the name.
 */
export const judgeCdroms = (
  machine: VirtualMachine,
  uses: readonly CdromUse[],
): Attachments<AllocatedImage> => {
  const given = machine.status?.allocation?.cdroms ?? [];
  const outcomes = uses.map(({ name, image, reports }) => {
    const old = given.find((cdrom) => cdrom.name === name);
    if (old !== undefined && (image === undefined || image.metadata.uid === old.uid)) return old;
    const problem = cdromProblem(name, machine.metadata.namespace ?? "", image, reports);
    return problem ?? (image && allocateImage(image));
  });
  return {
    allocated: outcomes.flatMap((outcome) => (outcome !== undefined && "uid" in outcome ? [outcome] : [])),
    violation: outcomes.find((outcome) => outcome !== undefined && "kind" in outcome),
  };
};
