import { CommandError } from "../host/command.ts";
import { errorCode } from "../host/files.ts";
import type { DiskRef, DiskRefusal, VolumeFailure } from "./types.ts";

export const describeDisk = ({ pool, kind, uid }: DiskRef): string =>
  `${kind === "root" ? "root disk of machine" : "volume"} ${uid} in pool ${pool}`;

/** Something else is being done with the disk; ask again when that is over. */
export class DiskBusyError extends Error {
  override readonly name = "DiskBusyError";

  constructor(disk: DiskRef | string, what: string, options?: ErrorOptions) {
    super(`${typeof disk === "string" ? disk : describeDisk(disk)}: ${what}`, options);
  }
}

/** The files are not as the record says. Nothing is done with such a disk until a person has looked at it. */
export class DamagedDiskError extends Error {
  override readonly name = "DamagedDiskError";
}

/** There is no such disk, snapshot or operation; or it is not in a state that allows what was asked for. */
export class DiskStateError extends Error {
  override readonly name = "DiskStateError";
}

/** What cannot be had as it is asked for. */
export class DiskRefused extends Error {
  override readonly name = "DiskRefused";
  readonly reason: DiskRefusal;

  constructor(reason: DiskRefusal, message: string) {
    super(message);
    this.reason = reason;
  }
}

const fullCodes: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT"]);

const isFull = (error: unknown): boolean =>
  fullCodes.has(errorCode(error)) ||
  (error instanceof CommandError && /No space left on device|Disk quota exceeded/.test(error.stderr));

/** Any error of an effect, as the outcomes tell it. */
export const failureOf = (error: unknown): { readonly reason: VolumeFailure; readonly message: string } =>
  isFull(error)
    ? { reason: "NoSpace", message: "the storage pool is full; free space, or delete disks and snapshots" }
    : { reason: "Failed", message: error instanceof Error ? error.message : String(error) };
