import { availableParallelism, totalmem } from "node:os";
import type { Files } from "./files.ts";
import { hostInterfaces } from "./interfaces.ts";

const MIB = 2 ** 20;

/** What this machine has, before anything is reserved or given out. */
export interface HostFacts {
  readonly cpus: number;
  readonly memoryMiB: number;
  /** Size of the file system under the path, in MiB. */
  readonly diskMiB: number;
  /** IPv4 addresses of all interfaces but loopback. */
  readonly addresses: readonly string[];
}

/** IPv4 addresses that belong to this node itself. `ignored` names interfaces that are made for guests. */
export const nodeAddresses = (ignored: (name: string) => boolean): string[] =>
  hostInterfaces(ignored)
    .flatMap(({ addresses }) => addresses)
    .toSorted();

export interface HostFactsOptions {
  readonly files: Pick<Files, "space">;
  /** A path on the file system that holds root disks; one of the roots of `files`. */
  readonly diskPath: string;
  /** The node's own; see nodeAddresses. */
  readonly addresses: readonly string[];
}

/** Rejects when the path does not exist. */
export const hostFacts = async ({ files, diskPath, addresses }: HostFactsOptions): Promise<HostFacts> => ({
  cpus: availableParallelism(),
  memoryMiB: Math.floor(totalmem() / MIB),
  diskMiB: Math.floor((await files.space(diskPath)).sizeBytes / MIB),
  addresses,
});
