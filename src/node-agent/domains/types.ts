import type { Acceleration } from "../../api/hypervisor.ts";
import type { ImageFormat } from "../../api/image.ts";
import type { ExitReason, Firmware, PowerState } from "../../api/virtual-machine.ts";

/** A guest as it is to be. */
export interface Domain {
  readonly vmUid: string;
  /** Namespace and name of the VirtualMachine: shown to people, never part of a path or of an identity. */
  readonly namespace: string;
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly firmware: Firmware;
  readonly acceleration: Acceleration;
  /** A qcow2 overlay and the image under it. */
  readonly rootDisk: {
    readonly path: string;
    readonly backing: { readonly path: string; readonly format: ImageFormat };
  };
  readonly seedPath: string;
  readonly interfaces: readonly DomainInterface[];
}

export interface DomainInterface {
  /** Name of a tap device that exists on the node. */
  readonly tap: string;
  /** The guest's hardware address. */
  readonly macAddress: string;
  /** Largest packet in bytes. */
  readonly mtu: number;
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
}

/** libvirt refuses the guest as it is described; trying again does not help, a person must change something. */
export class DomainRefusedError extends Error {
  override readonly name = "DomainRefusedError";
}
