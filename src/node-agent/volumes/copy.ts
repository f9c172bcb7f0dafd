import { filesUnder, requireIntact } from "./chains.ts";
import { describeDisk, DiskBusyError, DiskStateError } from "./failure.ts";
import type { JobOptions } from "./jobs.ts";
import { diskKey, inTurn, reading, type Room } from "./room.ts";
import type { DiskRef, LayerFile } from "./types.ts";

/** A disk as a snapshot shows it. Its layers stay as they are until this is disposed of. */
export interface OpenSnapshot extends Disposable {
  /** From the layer that the snapshot froze down. */
  readonly files: readonly LayerFile[];
  readonly top: LayerFile;
}

/** Throws DiskBusyError while layers are being merged: files change meanwhile. */
export const openSnapshot = (room: Room, ref: DiskRef, snapshotUid: string): Promise<OpenSnapshot> =>
  inTurn(room, ref, async () => {
    const record = await room.directories.require(ref);
    if (room.jobs.isRunning(diskKey(ref)) || record.pending?.kind === "merge")
      throw new DiskBusyError(ref, "layers are being merged");
    const snapshot = record.snapshots.find(({ uid }) => uid === snapshotUid);
    if (snapshot === undefined)
      throw new DiskStateError(`there is no snapshot ${snapshotUid} of ${describeDisk(ref)}`);
    await requireIntact(room, ref, record, snapshot.layer);
    const files = await filesUnder(room, ref, record, snapshot.layer);
    const [top] = files;
    if (top === undefined)
      throw new DiskStateError(`snapshot ${snapshotUid} of ${describeDisk(ref)} is empty`);
    const hold = reading(room, ref);
    return { files, top, [Symbol.dispose]: () => hold[Symbol.dispose]() };
  });

/** The largest share of the progress that is told before everything is durable and in its place. */
export const notYetDone =
  ({ onProgress }: JobOptions) =>
  (percent: number): void =>
    onProgress(Math.min(99, percent));

interface Copy {
  readonly from: LayerFile;
  /** A file that does not exist yet. */
  readonly to: string;
  readonly sizeBytes: number;
}

/**
 * Copies what is above the image only, into an overlay on that image. Not with
 * `qemu-img convert -B`: that takes no notice of any layer but the topmost. An
 * empty overlay on the source is put on the image instead, which takes in what differs.
 */
export const copyAboveImage = async (
  { qemuImg }: Room,
  want: Copy & { readonly image: LayerFile },
  job: JobOptions,
): Promise<void> => {
  const { from, image, to, sizeBytes } = want;
  await qemuImg.create(to, { sizeBytes, backing: from }, job);
  await qemuImg.rebase(to, image, { ...job, onProgress: notYetDone(job) });
};

/** Copies everything that is seen through a file. */
export const copyAll = async (
  { qemuImg }: Room,
  { from, to, sizeBytes }: Copy,
  job: JobOptions,
): Promise<void> => {
  await qemuImg.convert(from, to, { ...job, isCompressed: false, onProgress: notYetDone(job) });
  await qemuImg.resize(to, sizeBytes, job);
};
