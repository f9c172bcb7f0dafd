import { open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { run } from "../programs.ts";

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
/** The first MiB holds the partition table and the boot loader. */
const PARTITION_START = MIB;
/** Boot code in the first sector; what follows in it is the partition table. */
const BOOT_CODE_BYTES = 440;
const GRUB_MODULES = ["biosdisk", "part_msdos", "ext2", "linux"];

const writeAt = async (file: string, content: Buffer, position: number): Promise<void> => {
  const handle = await open(file, "r+");
  try {
    await handle.write(content, 0, content.length, position);
  } finally {
    await handle.close();
  }
};

/** GRUB for the BIOS, written by hand: grub-install would want a block device. */
const writeBootLoader = async (disk: string, options: DiskOptions): Promise<void> => {
  const configuration = join(options.workDirectory, "grub.cfg");
  const core = join(options.workDirectory, "core.img");
  await writeFile(
    configuration,
    `set root=(hd0,msdos1)\nlinux /boot/vmlinuz ${options.kernelArguments}\ninitrd /boot/initrd\nboot\n`,
  );
  await run("grub-mkimage", [
    "--format=i386-pc",
    "--prefix=(hd0,msdos1)/boot/grub",
    `--config=${configuration}`,
    `--output=${core}`,
    ...GRUB_MODULES,
  ]);
  const boot = await readFile("/usr/lib/grub/i386-pc/boot.img");
  await writeAt(disk, boot.subarray(0, BOOT_CODE_BYTES), 0);
  const coreBytes = await readFile(core);
  if (coreBytes.length > PARTITION_START - SECTOR) throw new Error("GRUB does not fit before the partition");
  // grub-mkimage has linked it for the sector behind the boot code.
  await writeAt(disk, coreBytes, SECTOR);
};

/**
 * Makes a bootable qcow2 disk of a tree, as root but without mounts and loop
 * devices, which containers lack. Resolves with the file's size in bytes.
 */
export const makeDisk = async (options: DiskOptions): Promise<number> => {
  const disk = join(options.workDirectory, "disk.raw");
  await writeFile(disk, "");
  await truncate(disk, options.sizeMiB * MIB);
  await run("sfdisk", ["--quiet", disk], {
    stdin: `label: dos\nstart=${PARTITION_START / SECTOR}, type=83, bootable\n`,
  });
  const placement = ["-E", `offset=${PARTITION_START}`, "-d", options.root];
  const size = `${options.sizeMiB - PARTITION_START / MIB}m`;
  // Without -b the size would be read in blocks of 1 KiB.
  await run("mke2fs", ["-q", "-t", "ext4", "-L", "root", "-m", "0", "-b", "4096", ...placement, disk, size]);
  await writeBootLoader(disk, options);
  const compression = options.compressed ? ["-c", "-o", "compression_type=zstd"] : [];
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...compression, disk, options.output], {
    timeoutMs: 10 * 60_000,
  });
  await rm(disk);
  return (await stat(options.output)).size;
};
