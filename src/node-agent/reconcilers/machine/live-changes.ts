import type { DiskKind, DomainCdrom, DomainDisk, ObservedHardware } from "../../domains/index.ts";

/** One thing that is changed of a guest while it runs. */
export type LiveChange =
  | { readonly kind: "detach"; readonly device: { readonly kind: DiskKind; readonly uid: string } }
  | { readonly kind: "attach-disk"; readonly disk: DomainDisk }
  | { readonly kind: "attach-cdrom"; readonly cdrom: DomainCdrom }
  | { readonly kind: "resize-disk"; readonly uid: string; readonly sizeMiB: number }
  | { readonly kind: "set-vcpus"; readonly count: number }
  | { readonly kind: "set-memory"; readonly memoryMiB: number };

/** A disk with the size that it has and the one that it is to have. */
export interface SizedDisk {
  readonly uid: string;
  readonly sizeMiB: number;
  readonly wantedMiB: number;
}

/** A running guest as it is to be. */
export interface WantedHardware {
  readonly volumes: readonly DomainDisk[];
  readonly cdroms: readonly DomainCdrom[];
  /** UIDs of disks and images that the guest is to keep although they cannot be described at the moment. */
  readonly keep: ReadonlySet<string>;
  /** All its disks. */
  readonly sizes: readonly SizedDisk[];
  readonly vcpus: number;
  readonly memoryMiB: number;
}

const has = (hardware: ObservedHardware, kind: DiskKind, uid: string): boolean =>
  hardware.disks.some((disk) => disk.kind === kind && disk.uid === uid);

const detaches = (vmUid: string, hardware: ObservedHardware, want: WantedHardware): LiveChange[] => {
  const wanted = new Set([vmUid, ...want.keep, ...[...want.volumes, ...want.cdroms].map(({ uid }) => uid)]);
  return hardware.disks
    .filter(({ uid }) => !wanted.has(uid))
    .map(({ kind, uid }) => ({ kind: "detach", device: { kind, uid } }));
};

/** More are plugged, up to what the guest was started with room for; none is taken away. */
const vcpuChange = ({ vcpus }: ObservedHardware, want: WantedHardware): LiveChange[] => {
  const count = Math.min(want.vcpus, vcpus.maximum);
  return count > vcpus.current ? [{ kind: "set-vcpus", count }] : [];
};

/** Memory comes and goes in blocks: less than one of them is as near as it gets. */
const memoryChange = ({ memory }: ObservedHardware, want: WantedHardware): LiveChange[] => {
  const memoryMiB = Math.min(Math.max(want.memoryMiB, memory.initialMiB), memory.maximumMiB);
  const isNear = Math.abs(memoryMiB - memory.requestedMiB) < Math.max(memory.blockMiB, 1);
  return isNear ? [] : [{ kind: "set-memory", memoryMiB }];
};

/**
 * What to change of a running guest, in this order: what goes makes room for
 * what comes. Pure; nothing for a guest that is as it is to be.
 */
export const liveChanges = (
  vmUid: string,
  hardware: ObservedHardware,
  want: WantedHardware,
): readonly LiveChange[] => [
  ...detaches(vmUid, hardware, want),
  ...want.volumes
    .filter(({ uid }) => !has(hardware, "disk", uid))
    .map((disk): LiveChange => ({ kind: "attach-disk", disk })),
  ...want.cdroms
    .filter(({ uid }) => !has(hardware, "cdrom", uid))
    .map((cdrom): LiveChange => ({ kind: "attach-cdrom", cdrom })),
  ...want.sizes
    .filter(({ uid, sizeMiB, wantedMiB }) => sizeMiB < wantedMiB && has(hardware, "disk", uid))
    .map(({ uid, wantedMiB }): LiveChange => ({ kind: "resize-disk", uid, sizeMiB: wantedMiB })),
  ...vcpuChange(hardware, want),
  ...memoryChange(hardware, want),
];
