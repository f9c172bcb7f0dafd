import { isTrue } from "../../api/condition.ts";
import type { DiskReference } from "../../api/fields.ts";
import type { Image } from "../../api/image.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import type { Stores } from "../context.ts";
import { isMade } from "./judge.ts";

/** Pure: which objects are still being copied from a disk, which has to stay until they are there. */

/** Whose disk is copied: exactly one of the members. */
export interface CopySource {
  readonly volumeUid?: string;
  readonly snapshotUid?: string;
}

/**
 * The objects that are being made out of the Volume, or out of the snapshot, as
 * "Volume data". A Volume in a snapshot is copied from the snapshot.
 */
export const findCopies = (
  { volumes, virtualMachines, images }: Pick<Stores, "volumes" | "virtualMachines" | "images">,
  source: CopySource,
): readonly string[] => {
  const isSource = (disk: DiskReference | undefined): boolean => disk !== undefined && matches(disk, source);
  return [
    ...volumes
      .list()
      .filter((volume) => isSource(diskBehindVolume(volume)))
      .map(({ metadata }) => `Volume ${metadata.name}`),
    ...virtualMachines
      .list()
      .filter((machine) => isSource(diskBehindMachine(machine)))
      .map(({ metadata }) => `VirtualMachine ${metadata.name}`),
    ...images
      .list()
      .filter((image) => isSource(diskBehindImage(image)))
      .map(({ metadata }) => `Image ${metadata.name}`),
  ].toSorted();
};

const matches = (disk: DiskReference, { volumeUid, snapshotUid }: CopySource): boolean =>
  snapshotUid === undefined
    ? disk.volumeUid === volumeUid && disk.snapshotUid === undefined
    : disk.snapshotUid === snapshotUid;

/** The disk that the Volume is being copied from; undefined when there is none, and when that is over. */
export const diskBehindVolume = (volume: Volume): DiskReference | undefined =>
  isMade(volume) ? undefined : volume.status?.allocation?.source;

/** The same for a machine's root disk. */
export const diskBehindMachine = ({ status }: VirtualMachine): DiskReference | undefined =>
  isTrue(status?.conditions, "StorageReady") || isTrue(status?.conditions, "Released")
    ? undefined
    : status?.allocation?.source;

/** The same for an Image. */
export const diskBehindImage = ({ status }: Image): DiskReference | undefined =>
  status?.checksum === undefined ? status?.origin?.disk : undefined;
