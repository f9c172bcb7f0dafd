import { copyFile, cp, mkdir, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { run } from "../programs.ts";
import { unpackDebian } from "./debian-packages.ts";
import { makeDisk } from "./disk.ts";

/*
 * The tiny guest: Debian's cloud kernel, a static busybox, and dropbear with
 * sftp, with tiny/root laid over them. It boots to ssh in about ten seconds when emulated.
 */

const SIZE_MIB = 96;
const PACKAGES = ["linux-image-cloud-amd64", "busybox-static", "dropbear-bin", "openssh-sftp-server"];
const SFTP_SERVER = "/usr/lib/openssh/sftp-server";
const PROGRAMS = ["/usr/sbin/dropbear", "/usr/bin/dropbearkey", SFTP_SERVER];
/** Where Debian's dropbear looks for it. */
const SFTP_SERVER_OF_DROPBEAR = "usr/lib/sftp-server";

/** Modules that find the root file system: the initramfs has these. */
const DISK_MODULES = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ext4", "crc32c_generic"];
/** Modules that the running system may load. */
const SYSTEM_MODULES = [
  ...DISK_MODULES,
  "virtio_net",
  "virtio_rng",
  "virtio_balloon",
  "virtio_console",
  "virtio_mem",
  "button",
  "evdev",
  "sr_mod",
  "isofs",
  "nls_utf8",
  "pvpanic_pci",
  "efivarfs",
];

const KERNEL_ARGUMENTS = "console=tty0 console=ttyS0 quiet loglevel=3 panic=-1";

const DIRECTORIES = [
  "bin",
  "sbin",
  "usr/bin",
  "usr/sbin",
  "proc",
  "sys",
  "dev",
  "run",
  "tmp",
  "root",
  "boot",
  "mnt",
  "etc/dropbear",
  "var/lib/cloud",
];

const SOURCE = join(import.meta.dirname, "tiny");

interface Packages {
  readonly directory: string;
  readonly kernelVersion: string;
}

/** Paths, relative to the module directory, of the named modules and of all that they depend on. */
const moduleClosure = (names: readonly string[], modulesDep: string): ReadonlySet<string> => {
  const paths = new Set<string>();
  for (const line of modulesDep.split("\n")) {
    const [path = "", dependencies = ""] = line.split(":");
    const name = (path.split("/").at(-1) ?? "").replace(/\.ko.*$/, "").replaceAll("-", "_");
    // A name that has no line is built into this kernel.
    if (!names.includes(name)) continue;
    for (const needed of [path, ...dependencies.split(" ")]) if (needed !== "") paths.add(needed);
  }
  return paths;
};

/** Copies modules into `root`, with the index that modprobe reads. */
const installModules = async (packages: Packages, names: readonly string[], root: string): Promise<void> => {
  const source = join(packages.directory, "lib/modules", packages.kernelVersion);
  const target = join(root, "lib/modules", packages.kernelVersion);
  await run("depmod", ["--basedir", packages.directory, packages.kernelVersion]);
  for (const path of moduleClosure(names, await readFile(join(source, "modules.dep"), "utf8"))) {
    await mkdir(dirname(join(target, path)), { recursive: true });
    await copyFile(join(source, path), join(target, path));
  }
  for (const file of ["modules.order", "modules.builtin", "modules.builtin.modinfo"]) {
    await copyFile(join(source, file), join(target, file));
  }
  await run("depmod", ["--basedir", root, packages.kernelVersion]);
};

const installBusybox = async (packages: Packages, root: string): Promise<void> => {
  const busybox = join(packages.directory, "bin/busybox");
  await copyFile(busybox, join(root, "bin/busybox"));
  for (const applet of (await run(busybox, ["--list-full"])).split("\n")) {
    if (applet === "" || applet === "bin/busybox") continue;
    await symlink("/bin/busybox", join(root, applet));
  }
};

/** The program with the libraries that its loader finds for it. */
const installProgram = async (packages: Packages, program: string, root: string): Promise<void> => {
  const loader = "/lib64/ld-linux-x86-64.so.2";
  const listing = await run("chroot", [packages.directory, loader, "--list", program]);
  const libraries = [...listing.matchAll(/(\/\S+) \(0x/g)].flatMap(([, path]) => path ?? []);
  for (const path of [program, ...libraries]) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(join(packages.directory, path), join(root, path));
  }
};

const makeDirectories = async (root: string): Promise<void> => {
  for (const directory of DIRECTORIES) await mkdir(join(root, directory), { recursive: true });
};

const buildInitramfs = async (packages: Packages, workDirectory: string, output: string): Promise<void> => {
  const root = join(workDirectory, "initramfs");
  await makeDirectories(root);
  await installBusybox(packages, root);
  await installModules(packages, DISK_MODULES, root);
  await copyFile(join(SOURCE, "initramfs-init"), join(root, "init"));
  const archive = join(workDirectory, "initramfs.cpio");
  const paths = await run("find", [root, "-mindepth", "1", "-printf", String.raw`%P\0`]);
  await run(
    "cpio",
    ["--null", "--create", "--format=newc", "--quiet", `--directory=${root}`, `--file=${archive}`],
    { stdin: paths },
  );
  await run("gzip", ["-9", "--no-name", archive]);
  await copyFile(`${archive}.gz`, output);
};

const buildRoot = async (packages: Packages, root: string): Promise<void> => {
  await makeDirectories(root);
  await installBusybox(packages, root);
  for (const program of PROGRAMS) await installProgram(packages, program, root);
  await symlink(SFTP_SERVER, join(root, SFTP_SERVER_OF_DROPBEAR));
  await installModules(packages, SYSTEM_MODULES, root);
  await cp(join(SOURCE, "root"), root, { recursive: true });
  await writeFile(join(root, "etc/passwd"), "root::0:0:root:/root:/bin/sh\n");
  await writeFile(join(root, "etc/group"), "root:x:0:\ntty:x:5:\n");
  await writeFile(join(root, "etc/shells"), "/bin/sh\n");
  await run("chown", ["--recursive", "root:root", root]);
  await run("chmod", ["700", join(root, "root")]);
};

/** Builds the tiny guest's disk. */
export const buildTiny = async (workDirectory: string, output: string): Promise<void> => {
  const directory = join(workDirectory, "packages");
  await unpackDebian(PACKAGES, directory);
  const [kernelVersion] = await readdir(join(directory, "lib/modules"));
  if (kernelVersion === undefined) throw new Error("the kernel package has no modules");
  const packages = { directory, kernelVersion };
  const root = join(workDirectory, "root");
  await buildRoot(packages, root);
  await copyFile(join(directory, "boot", `vmlinuz-${kernelVersion}`), join(root, "boot/vmlinuz"));
  await buildInitramfs(packages, workDirectory, join(root, "boot/initrd"));
  await makeDisk({
    root,
    workDirectory,
    sizeMiB: SIZE_MIB,
    kernelArguments: KERNEL_ARGUMENTS,
    compressed: false,
    output,
  });
  await rm(directory, { recursive: true, force: true });
};
