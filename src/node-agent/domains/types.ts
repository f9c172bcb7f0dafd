import type { Acceleration } from "../../api/hypervisor.ts";
import type { ImageFormat } from "../../api/image.ts";
import type { QuiescePolicy, SnapshotConsistency } from "../../api/virtual-machine-snapshot.ts";
import type { Firmware, GraphicsProtocol, HugePageSize, VolumeBus } from "../../api/virtual-machine-spec.ts";
import type { ExitReason, PowerState } from "../../api/virtual-machine.ts";

/** A guest as it is to be started. */
export interface Domain {
  readonly vmUid: string;
  /** Namespace and name of the VirtualMachine: shown to people, never part of a path or of an identity. */
  readonly namespace: string;
  readonly name: string;
  readonly acceleration: Acceleration;
  readonly vcpus: number;
  /** How many virtual CPUs the running guest can be given. Default: vcpus. */
  readonly maxVcpus?: number | undefined;
  readonly memoryMiB: number;
  /** How much memory the running guest can be given, in MiB. Default: memoryMiB. */
  readonly maxMemoryMiB?: number | undefined;
  readonly cpu?: VirtualCpu | undefined;
  /** Backs the memory with pages of that size. Default: ordinary pages. */
  readonly hugePageSize?: HugePageSize | undefined;
  readonly firmware: Firmware;
  /** Whether the guest has a TPM 2.0. */
  readonly tpm: boolean;
  /** By which protocols its screen can be reached; none: it has no screen. SPICE only where QEMU has it. */
  readonly graphics: readonly GraphicsProtocol[];
  readonly rootDisk: RootDisk;
  readonly volumes: readonly DomainDisk[];
  readonly cdroms: readonly DomainCdrom[];
  readonly seedPath: string;
  readonly interfaces: readonly DomainInterface[];
}

/** https://libvirt.org/formatdomain.html#cpu-model-and-topology */
export interface VirtualCpu {
  /** A named model, host-model or host-passthrough. Default: what fits the acceleration. */
  readonly model?: string | undefined;
  /** Of all virtual CPUs that it can be given. Default: one socket of so many cores. */
  readonly topology?:
    | { readonly sockets: number; readonly cores: number; readonly threads: number }
    | undefined;
}

/** One file of a disk. */
export interface DiskLayer {
  readonly path: string;
  readonly format: ImageFormat;
  /** Whether other guests read it too, as a cached image: libvirt must not give it to this one. Default false. */
  readonly shared?: boolean | undefined;
}

/** A disk's files, from the one that the guest writes, the head, down to the one that stands on nothing. */
export type DiskLayers = readonly [head: DiskLayer, ...below: readonly DiskLayer[]];

export interface RootDisk {
  readonly layers: DiskLayers;
  /** Place in the order in which the firmware tries devices, the lowest first. Default: after those that have one. */
  readonly bootOrder?: number | undefined;
}

export interface DomainDisk extends RootDisk {
  /** UID of the Volume; of the machine, for its root disk. The disk's serial number is made of it. */
  readonly uid: string;
  /** Name of the Volume, for people. */
  readonly name: string;
  readonly bus: VolumeBus;
}

/** A raw file that the guest reads as a CD-ROM. It may be read by other guests too. */
export interface DomainCdrom {
  /** UID of the Image. */
  readonly uid: string;
  /** Name of the Image, for people. */
  readonly name: string;
  readonly path: string;
  /** As RootDisk.bootOrder. */
  readonly bootOrder?: number | undefined;
}

export interface DomainInterface {
  /** Name of the Network, for people. */
  readonly network: string;
  /** Name of a tap device that exists on the node. */
  readonly tap: string;
  /** The guest's hardware address. */
  readonly macAddress: string;
  /** Largest packet in bytes. */
  readonly mtu: number;
  /** As RootDisk.bootOrder, but without one the firmware does not try the network at all. */
  readonly bootOrder?: number | undefined;
}

/** A guest as libvirt knows it. */
export interface ObservedDomain {
  readonly vmUid: string;
  readonly powerState: PowerState;
  /**
   * Why it is off; absent while it is on. "Unknown" also for a guest that never
   * ran: libvirt does not remember the reason when its daemon is restarted.
   */
  readonly exit?: ExitReason;
  /** What the guest has. Only `observe` tells, and only of a guest that is on. */
  readonly hardware?: ObservedHardware;
}

/** What a guest has that is on. */
export interface ObservedHardware {
  /** Disks and CD-ROMs, but for the seed. */
  readonly disks: readonly ObservedDisk[];
  readonly interfaces: readonly { readonly tap: string; readonly macAddress: string }[];
  readonly vcpus: { readonly current: number; readonly maximum: number };
  readonly memory: ObservedMemory;
  /**
   * What only a start changes, as it was when the guest was started; see
   * pendingChanges. Undefined for a guest whose agent did not write it down.
   */
  readonly settings: ReadonlyMap<string, string> | undefined;
}

export interface ObservedDisk {
  readonly kind: DiskKind;
  /** UID of the Volume, of the machine for its root disk, of the Image for a CD-ROM. */
  readonly uid: string;
  readonly bus: VolumeBus;
  /** libvirt's name of the disk, unique in the guest: vda, sdb. Not what the guest calls it. */
  readonly target: string;
  /** Paths of its layers, the head first. */
  readonly layers: readonly string[];
}

export type DiskKind = "disk" | "cdrom";

/** In MiB. */
export interface ObservedMemory {
  /** What the guest was started with; it never has less. */
  readonly initialMiB: number;
  /** What it has now. */
  readonly currentMiB: number;
  /** What it is asked to take or to keep: it may need time for that, and give back less than asked. */
  readonly requestedMiB: number;
  /** The most that it can be given while it runs. */
  readonly maximumMiB: number;
  /** Only multiples of it come and go. */
  readonly blockMiB: number;
}

/** What of a description the running guest gets only by a restart. */
export interface PendingChange {
  /** Path into the machine's spec: vcpus, cpu.model, volumes[data].bus. */
  readonly path: string;
  readonly current: string;
  readonly desired: string;
}

/** attached: also when it was already. no-free-slot: only a restart makes room for more of its bus. */
export type AttachOutcome = "attached" | "no-free-slot";

/**
 * gone: the guest does not have it (any more). asked: the guest has to let go
 * of it; `observe` shows the device until it has, and onChange tells.
 */
export type DetachOutcome = "gone" | "asked";

export interface SnapshotRequest {
  /**
   * For each disk, by UID, the empty qcow2 file that the guest writes from that
   * moment on. It must exist and stand on the present head.
   */
  readonly overlays: ReadonlyMap<string, string>;
  /** File that the guest's memory is written to; it must not exist. Absent: disks only. */
  readonly memoryPath?: string | undefined;
  /** Of no effect with memory. */
  readonly quiesce: QuiescePolicy;
}

export type SnapshotOutcome =
  | {
      readonly kind: "taken";
      readonly consistency: Exclude<SnapshotConsistency, "Offline">;
      /** Why the file systems were not frozen although that was asked for. */
      readonly quiesceFailure?: string | undefined;
    }
  /** The guest writes these overlays since before this call. */
  | { readonly kind: "already-taken" }
  /** The guest's file systems cannot be frozen, and without that no snapshot was wanted. */
  | { readonly kind: "not-quiesced"; readonly message: string };

/** A file that a snapshot with memory has written. */
export interface SavedMemory {
  readonly path: string;
  /** Whether the guest does not go on at once, but waits for `resume`. */
  readonly paused: boolean;
}

/** Which layers of a disk become one, by path. */
export type MergeRequest = { readonly diskUid: string } & (
  | {
      /** The head takes the content of all layers between it and `base`. */
      readonly kind: "pull";
      /** The layer that the head stands on afterwards; undefined: none. */
      readonly base: string | undefined;
    }
  | {
      /** `base` takes the content of `top` and of what is between; neither is the head. `top` is no longer used afterwards. */
      readonly kind: "commit";
      readonly top: string;
      readonly base: string;
    }
);

export type MergeOutcome =
  | { readonly kind: "running"; readonly progressPercent: number }
  /** The merge is done but for what QEMU writes out when a guest is stopped, and the guest stands still already. */
  | { readonly kind: "paused"; readonly byRequest: boolean }
  /** And QEMU holds nothing of it back. */
  | { readonly kind: "done" };

/** Unix sockets of a running guest, as paths on the node. */
export interface GuestSockets {
  /** Its serial console: raw bytes, one client at a time; whoever connects must read all the time, or the guest waits. */
  readonly console?: string | undefined;
  readonly vnc?: string | undefined;
  readonly spice?: string | undefined;
}

/** libvirt refuses the guest as it is described; trying again does not help, a person must change something. */
export class DomainRefusedError extends Error {
  override readonly name = "DomainRefusedError";
}

/** What was asked for needs a guest that is on. */
export class GuestOffError extends Error {
  override readonly name = "GuestOffError";
}

/**
 * The serial number by which the guest knows a disk, for example
 * /dev/disk/by-id/virtio-<serial>: the first 20 digits of its UID, since virtio
 * has no room for more.
 */
export const diskSerial = (uid: string): string => uid.replaceAll("-", "").slice(0, 20);
