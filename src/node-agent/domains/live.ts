import type { LibvirtVerbs } from "../../libvirt/index.ts";
import { createDomainDriver } from "./driver.ts";
import { createLiveDevices } from "./live-devices.ts";
import { createLiveLayers } from "./live-layers.ts";
import { createLiveScreens } from "./live-screens.ts";
import { createLiveSize } from "./live-size.ts";
import { createLiveContext } from "./running-guest.ts";
import type {
  AttachOutcome,
  DetachOutcome,
  DiskKind,
  DomainCdrom,
  DomainDisk,
  GuestSockets,
  MergeOutcome,
  MergeRequest,
  SnapshotOutcome,
  SnapshotRequest,
} from "./types.ts";

interface Options {
  readonly signal: AbortSignal;
}

/** Disks and CD-ROMs of a running guest. */
export interface LiveDevices {
  /** Plugs a disk, unless the guest has it. */
  attachDisk(vmUid: string, disk: DomainDisk, options: Options): Promise<AttachOutcome>;
  /** Plugs a CD-ROM drive with its disc, unless the guest has it. */
  attachCdrom(vmUid: string, cdrom: DomainCdrom, options: Options): Promise<AttachOutcome>;
  /**
   * Asks the guest to let go of a disk or CD-ROM. May be asked again of a guest
   * that has not done so; QEMU passes that on every five seconds at most.
   */
  detach(
    vmUid: string,
    device: { readonly kind: DiskKind; readonly uid: string },
    options: Options,
  ): Promise<DetachOutcome>;
  /** Makes a disk larger and tells the guest. One that has the size already stays as it is. Never shrinks. */
  resizeDisk(
    vmUid: string,
    disk: { readonly uid: string; readonly sizeMiB: number },
    options: Options,
  ): Promise<void>;
  /**
   * Tells the guest how large its disks are. One that goes on from a memory file
   * takes them to be as large as they were when it was saved. May be repeated.
   */
  announceSizes(vmUid: string, options: Options): Promise<void>;
}

/** vCPUs, memory and pause of a running guest. */
export interface LiveSize {
  /**
   * Plugs vCPUs, as many as the guest has room for, and resolves with how many
   * it has. None is taken away. It is for the guest to set new ones going.
   */
  setVcpus(vmUid: string, count: number, options: Options): Promise<number>;
  /**
   * Asks the guest to take memory, or to give it back, within its limits;
   * resolves with what it is asked for, in MiB. `observe` tells what it has.
   */
  setMemory(vmUid: string, memoryMiB: number, options: Options): Promise<number>;
  /** Stops its vCPUs. */
  suspend(vmUid: string, options: Options): Promise<void>;
  /** Lets them go on. */
  resume(vmUid: string, options: Options): Promise<void>;
}

/** The files that a running guest's disks are made of. */
export interface LiveLayers {
  /**
   * All disks that are named begin to write new files at one moment. All or
   * none: after an error nothing has changed, or everything has, which the next
   * call tells. Of a call whose outcome is unknown the memory file may be half
   * written while the disks have not changed: remove it then.
   */
  snapshot(vmUid: string, request: SnapshotRequest, options: Options): Promise<SnapshotOutcome>;
  /**
   * Begins a merge, or tells how far it is; to be called until it is done. A
   * merge that fails begins again with the next call. The guest goes on writing,
   * and stands still at the end for as long as QEMU takes to write out what it
   * holds. Who is killed meanwhile leaves it paused (byRequest): `resume` it then.
   */
  merge(vmUid: string, request: MergeRequest, options: Options): Promise<MergeOutcome>;
  /**
   * Ends whatever merge the disk has. The layers stay as they are, or the merge
   * is done; QEMU holds nothing of it back. Rejects when the guest is paused and
   * that cannot be had.
   */
  cancelMerge(vmUid: string, diskUid: string, options: Options): Promise<void>;
}

/** What a person sees of a guest. */
export interface LiveScreens {
  /** The screen as a PNG file. */
  screenshot(vmUid: string, options: Options): Promise<Uint8Array>;
  sockets(vmUid: string, options: Options): Promise<GuestSockets>;
}

/**
 * Changes to guests while they are on. Every verb may be repeated, and rejects
 * with
 * - GuestOffError when the guest is not on,
 * - DomainRefusedError when only a person can help,
 * - an error of src/libvirt otherwise.
 *
 * Nothing here changes what the guest is started with next: that is described
 * anew at each start.
 */
export interface LiveDomains extends LiveDevices, LiveSize, LiveLayers, LiveScreens {}

export const createLiveDomains = ({ libvirt }: { readonly libvirt: LibvirtVerbs }): LiveDomains => {
  const driver = createDomainDriver(libvirt);
  const context = createLiveContext(libvirt, driver);
  return {
    ...createLiveDevices(context),
    ...createLiveSize(context, driver),
    ...createLiveLayers(context),
    ...createLiveScreens(context),
  };
};
