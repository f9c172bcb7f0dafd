import { baseFile, headerOf, layerAsFile } from "./chains.ts";
import { describeDisk, DiskStateError } from "./failure.ts";
import type { DiskRecord } from "./record.ts";
import { alone, inTurn, type Room } from "./room.ts";
import { settleWhileOff } from "./settle.ts";
import { adopted } from "./transitions.ts";
import type { AdoptionOutcome, DiskRef } from "./types.ts";

interface Adoption {
  readonly ref: DiskRef;
  readonly retainedUid: string;
  readonly namespace: string;
}

/** Layers name the layer below by its path, which has changed with the directory's. Then the disk is an ordinary one. */
export const finishAdoption = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  signal: AbortSignal,
): Promise<DiskRecord> => {
  for (const { name, parent } of record.layers) {
    const base = await baseFile(room, ref, record, parent);
    const { backingPath } = await headerOf(room, ref, name);
    if (backingPath !== base?.path)
      await room.qemuImg.relink(layerAsFile(room, ref, name).path, base, { signal });
  }
  return room.directories.write(ref, adopted(record));
};

const refused = (message: string): AdoptionOutcome => ({ kind: "refused", message });

/** Moves the directory of the retained disk to where the Volume's is to be; undefined when it is there. */
const takeOver = async (
  room: Room,
  { ref, retainedUid, namespace }: Adoption,
  signal: AbortSignal,
): Promise<AdoptionOutcome | undefined> => {
  const { directories, files } = room;
  const former: DiskRef = { ...ref, uid: retainedUid };
  const present = await directories.read(former);
  // Whether another namespace has such a disk is nobody's business.
  if (present?.retained?.namespace !== namespace)
    return refused(
      `pool ${ref.pool} has no retained data of a Volume with UID ${retainedUid} of this namespace`,
    );
  const record = await settleWhileOff(room, former, present, signal);
  if (record.snapshots.length > 0)
    return refused(
      `snapshots ${record.snapshots.map(({ uid }) => uid).join(", ")} need the retained data of ${retainedUid}; delete them first`,
    );
  if (record.head === undefined || record.pending !== undefined)
    return refused(`the retained data of ${retainedUid} are being removed or restored`);
  await files.rename(directories.of(former), directories.of(ref));
  return undefined;
};

/**
 * See VolumeDisks.adopt. The directory is renamed as a whole; that the disk is
 * retained stays written until its layers have been told where they are.
 */
export const adoptDisk = async (
  room: Room,
  want: Adoption,
  signal: AbortSignal,
): Promise<AdoptionOutcome> => {
  const { ref, retainedUid } = want;
  if (ref.uid === retainedUid) throw new DiskStateError(`${describeDisk(ref)} cannot take itself over`);
  const inBothTurns = (): Promise<AdoptionOutcome> =>
    inTurn(room, ref, async () => {
      const { directories } = room;
      if ((await directories.read(ref)) === undefined) {
        const refusal = await takeOver(room, want, signal);
        if (refusal !== undefined) return refusal;
      }
      const record = await directories.require(ref);
      if (record.retained !== undefined) await finishAdoption(room, ref, record, signal);
      return { kind: "adopted" };
    });
  return alone(room, { ...ref, uid: retainedUid }, inBothTurns);
};
