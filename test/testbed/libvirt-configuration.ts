import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { exists } from "./cache.ts";

/**
 * Settings of a node's libvirtd.
 * - host_uuid: nodes of one machine would otherwise take each other for the same host.
 * - The socket asks for no authentication: only root reaches it.
 */
const libvirtdSettings = (): string => `host_uuid = "${randomUUID()}"
auth_unix_ro = "none"
auth_unix_rw = "none"
`;

/**
 * - stdio_handler: there is no virtlogd in a node.
 * - cgroup_controllers: guests of different nodes would meet in the machine's cgroups.
 * - security_driver: no AppArmor profile knows a node's private directories.
 */
const QEMU_SETTINGS = `stdio_handler = "file"
cgroup_controllers = []
security_driver = "none"
seccomp_sandbox = 1
`;

/** Writes what belongs in a node's /etc/libvirt; an identity that is there already is kept. */
export const writeLibvirtConfiguration = async (directory: string): Promise<void> => {
  await mkdir(join(directory, "qemu"), { recursive: true });
  const libvirtd = join(directory, "libvirtd.conf");
  if (!(await exists(libvirtd))) await writeFile(libvirtd, libvirtdSettings());
  await writeFile(join(directory, "qemu.conf"), QEMU_SETTINGS);
};
