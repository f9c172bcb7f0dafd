import type { VirtualMachine, VirtualMachineAllocation } from "../../../api/virtual-machine.ts";
import type { Volume } from "../../../api/volume.ts";
import type { Domains } from "../../domains/index.ts";
import { isOn } from "../machine/guest-record.ts";
import type { DiskKind, DiskRef } from "../../volumes/types.ts";

/** Which disk is meant, wherever it is. */
export type DiskName = Pick<DiskRef, "kind" | "uid">;

/** A disk to copy from, as the controller resolved it: of a machine the root disk, unless a Volume is named. */
export const diskReferenceOf = ({
  machineUid,
  volumeUid,
  snapshotUid,
}: NonNullable<VirtualMachineAllocation["source"]>): {
  readonly kind: DiskKind;
  readonly uid: string;
  readonly snapshotUid: string | undefined;
} =>
  volumeUid === undefined
    ? { kind: "root", uid: machineUid ?? "", snapshotUid }
    : { kind: "volume", uid: volumeUid, snapshotUid };

/** Whose guest has a disk. */
export interface DiskUsers {
  /** UID of the machine that has the disk or is about to, whether its guest is on or off. */
  machineOf(disk: DiskName): string | undefined;
  /** UID of the machine whose guest is on and has the disk open; asked of libvirt. */
  runningGuestOf(disk: DiskName, options: { readonly signal: AbortSignal }): Promise<string | undefined>;
}

export interface DiskUsersOptions {
  readonly machines: { list(): readonly VirtualMachine[] };
  readonly volumes: { get(uid: string): Volume | undefined };
  readonly domains: Pick<Domains, "observe">;
}

export const createDiskUsers = ({ machines, volumes, domains }: DiskUsersOptions): DiskUsers => {
  const machineOf = ({ kind, uid }: DiskName): string | undefined => {
    if (kind === "root") return uid;
    const holder = machines
      .list()
      .find(({ status }) => status?.guest?.volumes?.some((volume) => volume.uid === uid) === true);
    return holder?.metadata.uid ?? volumes.get(uid)?.status?.attachedTo?.uid;
  };
  return {
    machineOf,
    runningGuestOf: async (disk, options) => {
      const vmUid = machineOf(disk);
      if (vmUid === undefined) return undefined;
      const domain = await domains.observe(vmUid, options);
      if (!isOn(domain)) return undefined;
      const isRoot = disk.kind === "root";
      const has = domain?.hardware?.disks.some(({ kind, uid }) => kind === "disk" && uid === disk.uid);
      return isRoot || has === true ? vmUid : undefined;
    },
  };
};
