import { appendFile, chmod, copyFile, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import {
  ensureAuthority,
  issueClientCertificate,
  issueServingCertificate,
} from "../test/testbed/certificates.ts";
import type { TestNode } from "../test/testbed/node.ts";
import { makeTemporaryDirectory } from "../test/testbed/temporary-directory.ts";

const DIRECTORY = "migration-tls";

/**
 * Lets the libvirts of these nodes encrypt what they send each other by their own
 * means, which `virsh migrate --tls` asks for. They are started again; guests run on.
 * https://libvirt.org/kbase/tlscerts.html, https://www.qemu.org/docs/master/system/tls.html
 */
export const offerMigrationTls = async (nodes: readonly TestNode[]): Promise<void> => {
  const made = await makeTemporaryDirectory("migration-tls");
  const authority = await ensureAuthority(made);
  const server = await issueServingCertificate(
    made,
    nodes.map(({ address }) => address),
  );
  const client = await issueClientCertificate(made, "client", { user: "qemu", groups: [] });
  const files = [
    [authority.certificateFile, "ca-cert.pem"],
    [server.certificateFile, "server-cert.pem"],
    [server.keyFile, "server-key.pem"],
    [client.certificateFile, "client-cert.pem"],
    [client.keyFile, "client-key.pem"],
  ] as const;
  for (const node of nodes) {
    const configuration = join(node.directory, "etc-libvirt");
    const directory = join(configuration, DIRECTORY);
    await mkdir(directory, { recursive: true });
    for (const [from, name] of files) {
      await copyFile(from, join(directory, name));
      // QEMU reads them, and is not root.
      await chmod(join(directory, name), 0o644);
    }
    const settings = `migrate_tls_x509_cert_dir = "/etc/libvirt/${DIRECTORY}"\nmigrate_tls_x509_verify = 1\n`;
    await appendFile(join(configuration, "qemu.conf"), settings);
    await node.killLibvirtd("SIGTERM");
    await node.startLibvirtd();
  }
  await rm(made, { recursive: true });
};
