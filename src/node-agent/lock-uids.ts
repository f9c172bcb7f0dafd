import type { DiskUsers } from "./reconcilers/storage/disk-users.ts";
import { diskReferenceOf } from "./reconcilers/storage/disk-users.ts";
import type { OwnObjects } from "./own-objects.ts";
import { sourceUids, wantedVolumeDisk } from "./reconcilers/storage/storage.ts";

/** UIDs of the guests and disks that a pass works on: who holds them is alone with them. */
export interface LockUids {
  machine(uid: string): readonly string[];
  volume(uid: string): readonly string[];
  snapshot(uid: string): readonly string[];
  restore(uid: string): readonly string[];
  disk(uid: string): readonly string[];
  image(uid: string): readonly string[];
}

const defined = (...uids: readonly (string | undefined)[]): readonly string[] =>
  uids.filter((uid) => uid !== undefined);

export const locksOf = (objects: OwnObjects, users: () => DiskUsers): LockUids => {
  /** A machine with all Volumes that it has, is to have, or is to be rid of. */
  const machine = (uid: string): readonly string[] => {
    const { allocation, guest } = objects.machines.get(uid)?.status ?? {};
    const volumes = [...(allocation?.volumes ?? []), ...(guest?.volumes ?? [])];
    const source = allocation?.source;
    const origin = source === undefined ? undefined : ({ kind: "copy", of: source } as const);
    return [
      uid,
      ...volumes.map((volume) => volume.uid),
      ...(origin === undefined ? [] : sourceUids(origin, users())),
    ];
  };
  const disksInSnapshot = (uid: string | undefined): readonly string[] =>
    (uid === undefined ? undefined : objects.snapshots.get(uid))?.status?.disks?.flatMap(
      ({ volumeUid }) => volumeUid ?? [],
    ) ?? [];
  return {
    machine,
    volume: (uid) => {
      const volume = objects.volumes.get(uid);
      const source = volume === undefined ? [] : sourceUids(wantedVolumeDisk(volume).origin, users());
      return defined(uid, users().machineOf({ kind: "volume", uid }), ...source);
    },
    snapshot: (uid) => {
      const machineUid = objects.snapshots.get(uid)?.status?.machineUid;
      return [uid, ...(machineUid === undefined ? [] : machine(machineUid)), ...disksInSnapshot(uid)];
    },
    restore: (uid) => {
      const { machineUid, snapshotUid } = objects.restores.get(uid)?.status ?? {};
      return [uid, ...(machineUid === undefined ? [] : machine(machineUid)), ...disksInSnapshot(snapshotUid)];
    },
    disk: (uid) => defined(uid, users().machineOf({ kind: "volume", uid })),
    image: (uid) => {
      const disk = objects.images.get(uid)?.status?.origin?.disk;
      if (disk === undefined || disk.snapshotUid !== undefined) return [uid];
      const named = diskReferenceOf(disk);
      return defined(uid, named.uid, users().machineOf(named));
    },
  };
};
