import type { AllocatedInterface } from "../../api/virtual-machine.ts";

/** What a guest is told about itself at boot. */
export interface Seed {
  /** UID of the VirtualMachine: names the directory, and is the guest's instance-id. */
  readonly vmUid: string;
  readonly hostname: string;
  /** Lines as in authorized_keys. */
  readonly sshPublicKeys: readonly string[];
  /** The user's own user-data, handed on byte for byte. Without it the guest gets an empty cloud-config. */
  readonly userData?: string;
  /** The user's own network configuration, handed on byte for byte. Without it the guest gets that of its interfaces. */
  readonly networkData?: string;
  readonly interfaces: readonly AllocatedInterface[];
}

export interface CloudInitOptions {
  readonly signal: AbortSignal;
}

/** A seed that is there, as a whole. */
export interface SeedImage {
  readonly path: string;
}
