import { diskKey, isSameDisk } from "./room.ts";
import type { DiskRef } from "./types.ts";

/**
 * Of the disks of a machine one is the lead: what its record says of a snapshot
 * or restore decides for all. It is the root disk, whatever order disks are named in.
 */
export const leadFirst = (disks: readonly DiskRef[]): readonly DiskRef[] =>
  disks.toSorted((one, other) => {
    if (one.kind !== other.kind) return one.kind === "root" ? -1 : 1;
    return diskKey(one) < diskKey(other) ? -1 : 1;
  });

export const isLead = (ref: DiskRef, disks: readonly DiskRef[]): boolean => {
  const [lead] = leadFirst(disks);
  return lead !== undefined && isSameDisk(ref, lead);
};
