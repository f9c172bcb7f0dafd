import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import type { OneAtATime } from "../host/one-at-a-time.ts";
import type { Directories } from "./directories.ts";
import { DiskBusyError } from "./failure.ts";
import type { VolumeMerges } from "./index.ts";
import type { Jobs } from "./jobs.ts";
import type { QemuImg } from "./qemu-img.ts";
import type { CachedImage, DiskRef, RoomLogger } from "./types.ts";
import { wipeAndDelete } from "./wipe.ts";

/** What the verbs share. */
export interface Room {
  readonly directories: Directories;
  readonly files: Files;
  readonly run: RunCommand;
  readonly qemuImg: QemuImg;
  readonly jobs: Jobs;
  readonly logger: RoomLogger;
  readonly findImage: (imageUid: string) => Promise<CachedImage | undefined>;
  readonly oneAtATime: OneAtATime;
  /** How many copies are being read from a disk's frozen layers. */
  readonly readers: Map<string, number>;
}

/** For verbs that end in a merge. */
export interface RoomWithMerges extends Room {
  readonly merges: VolumeMerges;
}

export const diskKey = ({ pool, kind, uid }: DiskRef): string => `${pool}/${kind}/${uid}`;

export const isSameDisk = (one: DiskRef, other: DiskRef): boolean => diskKey(one) === diskKey(other);

/** Reads and changes of one disk's record, one after the other. Do not nest for the same disk. */
export const inTurn = <T>({ oneAtATime }: Room, ref: DiskRef, work: () => Promise<T>): Promise<T> =>
  oneAtATime(diskKey(ref), work);

/**
 * As inTurn, with nothing going on in the background. What is ended is not lost:
 * the record says what it was, and it is done again or given up.
 */
export const alone = async <T>(room: Room, ref: DiskRef, work: () => Promise<T>): Promise<T> => {
  await room.jobs.cancel(diskKey(ref));
  return inTurn(room, ref, () => {
    if (room.jobs.isRunning(diskKey(ref))) throw new DiskBusyError(ref, "a merge or a copy has just begun");
    return work();
  });
};

/**
 * Deletes a file, or a directory with all that is in it, as the pool's
 * administrator wants it. For all that may have something of a guest in it:
 * what was only half copied has.
 */
export const destroy = (
  { directories, files, run }: Room,
  pool: string,
  path: string,
  signal: AbortSignal,
): Promise<void> => wipeAndDelete(path, { files, run, policy: directories.pool(pool).wipe, signal });

/** Keeps the layers of a disk as they are until the result is disposed of. */
export const reading = ({ readers }: Room, ref: DiskRef): Disposable => {
  const key = diskKey(ref);
  readers.set(key, (readers.get(key) ?? 0) + 1);
  return {
    [Symbol.dispose]: () => {
      const left = (readers.get(key) ?? 1) - 1;
      if (left === 0) readers.delete(key);
      else readers.set(key, left);
    },
  };
};

export const isBeingRead = ({ readers }: Room, ref: DiskRef): boolean => readers.has(diskKey(ref));
