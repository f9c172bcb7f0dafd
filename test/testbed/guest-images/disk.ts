import { rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { run } from "../programs.ts";
import { EFI_PARTITION, writeBootLoaders } from "./boot-loader.ts";

export interface DiskOptions {
  /** Tree that becomes the root file system; it holds /boot/vmlinuz and /boot/initrd. */
  readonly root: string;
  /** Folder for intermediate files. */
  readonly workDirectory: string;
  /** Size that a guest sees. */
  readonly sizeMiB: number;
  readonly kernelArguments: string;
  /** Makes the file a third of the size, at the cost of unpacking while guests boot. */
  readonly compressed: boolean;
  /** The qcow2 file to write. */
  readonly output: string;
}

const MIB = 1024 * 1024;
const SECTOR = 512;
/** The root partition is the first in the table and the last on the disk, where it can grow. */
const ROOT_START = EFI_PARTITION.start + EFI_PARTITION.size;
const PARTITION_TABLE = [
  "label: dos",
  `start=${ROOT_START / SECTOR}, type=83, bootable`,
  `start=${EFI_PARTITION.start / SECTOR}, size=${EFI_PARTITION.size / SECTOR}, type=ef`,
];

/**
 * Makes a qcow2 disk of a tree. It boots with BIOS and with UEFI. Needs root,
 * but neither mounts nor loop devices, which containers lack. Resolves with the
 * file's size in bytes.
 */
export const makeDisk = async (options: DiskOptions): Promise<number> => {
  const { workDirectory } = options;
  const disk = join(workDirectory, "disk.raw");
  await writeFile(disk, "");
  await truncate(disk, options.sizeMiB * MIB);
  await run("sfdisk", ["--quiet", disk], { stdin: `${PARTITION_TABLE.join("\n")}\n` });
  const placement = ["-E", `offset=${ROOT_START}`, "-d", options.root];
  const size = `${options.sizeMiB - ROOT_START / MIB}m`;
  // Without -b the size would be read in blocks of 1 KiB.
  await run("mke2fs", ["-q", "-t", "ext4", "-L", "root", "-m", "0", "-b", "4096", ...placement, disk, size]);
  await writeBootLoaders({ disk, workDirectory, kernelArguments: options.kernelArguments });
  const compression = options.compressed ? ["-c", "-o", "compression_type=zstd"] : [];
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...compression, disk, options.output], {
    timeoutMs: 10 * 60_000,
  });
  await rm(disk);
  return (await stat(options.output)).size;
};
