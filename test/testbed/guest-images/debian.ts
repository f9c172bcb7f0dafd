import { rm } from "node:fs/promises";
import { join } from "node:path";

import { installDebian } from "./debian-packages.ts";
import { makeDisk } from "./disk.ts";

/*
 * Debian 12 as clouds offer it: cloud-init reads the seed, the root file system
 * grows to the disk, ssh as user debian. Emulated it takes a minute to boot.
 */

const SIZE_MIB = 2048;
const PACKAGES = [
  "linux-image-cloud-amd64",
  "initramfs-tools",
  "systemd-sysv",
  "dbus",
  "udev",
  "cloud-init",
  "cloud-guest-utils",
  "fdisk",
  "netplan.io",
  "systemd-resolved",
  "systemd-timesyncd",
  "openssh-server",
  "qemu-guest-agent",
  "iproute2",
  "iputils-ping",
  "sudo",
  "less",
];

const KERNEL_ARGUMENTS = "root=LABEL=root ro console=tty0 console=ttyS0 quiet panic=-1";

/** Of all that an initramfs may hold, what finds a virtio disk. */
const INITRAMFS_MODULES = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ext4", "crc32c_generic"];

/** Keys of other types take many seconds in an emulated guest. */
const CLOUD_CONFIG = ["datasource_list: [NoCloud, None]", "ssh_genkeytypes: [ed25519]"];

/** wait-online alone costs two minutes at the first boot; the timers would work while tests measure. */
const MASKED_UNITS = [
  "systemd-networkd-wait-online.service",
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "fstrim.timer",
  "dpkg-db-backup.timer",
];

const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** A hook line that writes lines to a file of the new system, which mmdebstrap's shell calls "$1". */
const writeLines = (path: string, lines: readonly string[]): string =>
  `printf '%s\\n' ${lines.map(quote).join(" ")} >"$1"${path}`;

const HOOKS = [
  writeLines("/etc/cloud/cloud.cfg.d/90_vireo.cfg", CLOUD_CONFIG),
  // Where no locale is set, cloud-init sets one with a program that is not there, and ends with an error.
  writeLines("/etc/default/locale", ["LANG=C.UTF-8"]),
  writeLines("/etc/fstab", ["LABEL=root / ext4 errors=remount-ro 0 1"]),
  writeLines("/etc/initramfs-tools/conf.d/modules", ["MODULES=list"]),
  writeLines("/etc/initramfs-tools/modules", INITRAMFS_MODULES),
  `chroot "$1" systemctl --quiet mask ${MASKED_UNITS.join(" ")}`,
  'chroot "$1" systemctl --quiet enable systemd-networkd systemd-resolved',
  'chroot "$1" update-initramfs -u -k all',
  'ln -s "$(basename "$1"/boot/vmlinuz-*)" "$1/boot/vmlinuz"',
  'ln -s "$(basename "$1"/boot/initrd.img-*)" "$1/boot/initrd"',
  // mmdebstrap leaves the machine's own resolv.conf, and systemd-networkd alone applies no DNS.
  'ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"',
  // Each guest is to make its own identity.
  'rm -f "$1"/etc/ssh/ssh_host_* "$1/var/lib/dbus/machine-id"; : >"$1/etc/machine-id"',
  'rm -f "$1/etc/hostname"; rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*',
];

/** Builds the Debian guest's disk. */
export const buildDebian = async (workDirectory: string, output: string): Promise<void> => {
  const root = join(workDirectory, "root");
  await installDebian(PACKAGES, HOOKS, root);
  await makeDisk({
    root,
    workDirectory,
    sizeMiB: SIZE_MIB,
    kernelArguments: KERNEL_ARGUMENTS,
    compressed: true,
    output,
  });
  await rm(root, { recursive: true, force: true });
};
