import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { run } from "../programs.ts";

export interface BootLoaderOptions {
  /** Raw file with a partition table; the first partition holds /boot/vmlinuz and /boot/initrd. */
  readonly disk: string;
  /** Folder for intermediate files. */
  readonly workDirectory: string;
  readonly kernelArguments: string;
}

const MIB = 1024 * 1024;
const SECTOR = 512;
/** Boot code in the first sector; what follows in it is the partition table. */
const BOOT_CODE_BYTES = 440;
/**
 * An empty disk part stands for the disk that GRUB itself was read from. So $root
 * is right whatever other disks there are, and whatever the firmware calls them.
 */
const PREFIX = "(,msdos1)/boot/grub";
const COMMON_MODULES = ["part_msdos", "ext2", "linux"];

/**
 * Bytes of the EFI system partition, where UEFI looks for a boot loader. What is
 * before it, behind the partition table, is the BIOS's GRUB.
 */
export const EFI_PARTITION = { start: MIB, size: MIB } as const;
/** For mformat, which thinks in heads and sectors per track too. */
const FAT_SIZE = ["-T", String(EFI_PARTITION.size / SECTOR), "-h", "64", "-s", "32"];
/** What UEFI starts from a disk that it has never seen: UEFI specification 2.10, 3.5.1.1. */
const EFI_FALLBACK = "EFI/BOOT/BOOTX64.EFI";

interface Core {
  readonly format: "i386-pc" | "x86_64-efi";
  /** Modules that only this firmware needs. */
  readonly modules: readonly string[];
}

/** GRUB as one file: its core, modules, and the commands that boot the kernel without asking. */
const buildCore = async (options: BootLoaderOptions, { format, modules }: Core): Promise<string> => {
  const configuration = join(options.workDirectory, "grub.cfg");
  const core = join(options.workDirectory, `grub-${format}.img`);
  await writeFile(
    configuration,
    `linux /boot/vmlinuz ${options.kernelArguments}\ninitrd /boot/initrd\nboot\n`,
  );
  await run("grub-mkimage", [
    `--format=${format}`,
    `--prefix=${PREFIX}`,
    `--config=${configuration}`,
    `--output=${core}`,
    ...COMMON_MODULES,
    ...modules,
  ]);
  return core;
};

const writeAt = async (file: string, content: Buffer, position: number): Promise<void> => {
  const handle = await open(file, "r+");
  try {
    await handle.write(content, 0, content.length, position);
  } finally {
    await handle.close();
  }
};

const writeForBios = async (options: BootLoaderOptions): Promise<void> => {
  const core = await readFile(await buildCore(options, { format: "i386-pc", modules: ["biosdisk"] }));
  if (core.length > EFI_PARTITION.start - SECTOR)
    throw new Error("GRUB does not fit before the first partition");
  const boot = await readFile("/usr/lib/grub/i386-pc/boot.img");
  await writeAt(options.disk, boot.subarray(0, BOOT_CODE_BYTES), 0);
  // grub-mkimage has linked it for the sector behind the boot code.
  await writeAt(options.disk, core, SECTOR);
};

const writeForUefi = async (options: BootLoaderOptions): Promise<void> => {
  // efi_gop: the kernel is handed a screen.
  const core = await buildCore(options, { format: "x86_64-efi", modules: ["efi_gop"] });
  const partition = ["-i", `${options.disk}@@${EFI_PARTITION.start}`];
  await run("mformat", [...partition, ...FAT_SIZE, "::"]);
  await run("mmd", [...partition, "::EFI", "::EFI/BOOT"]);
  await run("mcopy", [...partition, core, `::${EFI_FALLBACK}`]);
};

/**
 * Makes a disk boot with BIOS and with UEFI. By hand, since grub-install would
 * want a block device, and its UEFI part a mounted file system.
 */
export const writeBootLoaders = async (options: BootLoaderOptions): Promise<void> => {
  await writeForBios(options);
  await writeForUefi(options);
};
