import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import type { DomainRef } from "../../../src/libvirt/index.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { startNode, type TestNode } from "../../testbed/node.ts";
import { argumentsOf, listProcesses } from "../../testbed/process-table.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import type { Underlay } from "../../testbed/underlay.ts";
import { waitFor } from "../../testbed/wait.ts";

/** A libvirtd that a test can mistreat. */
export interface TestDaemon {
  readonly socketPath: string;
  /** kill -9. Guests live on. */
  kill(): Promise<void>;
  /** Starts it again after kill(). */
  restart(): Promise<void>;
  /** Stops it without ending it. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Makes calls that wait on the guest of that domain block, until the returned function is called. */
  block(domain: DomainRef): Promise<() => Promise<void>>;
  /**
   * Makes a disk image in qcow2 format and resolves with its path, as the daemon
   * sees it: the same on every daemon.
   */
  image(name: string, options: ImageOptions): Promise<string>;
  /** Makes a running guest keep the devices that it is asked to let go of. The real firmware keeps those on PCI anyway. */
  cling(domain: DomainRef): void;
  /** Something that changes when the guest is started anew: of the real one, its process id. */
  guestIdentity(domain: DomainRef): string;
  stop(): Promise<void>;
}

export interface ImageOptions {
  readonly sizeMib: number;
  /** How much of it is written. Default: nothing. */
  readonly writtenMib?: number;
  /** The image below it. */
  readonly backing?: string;
}

export interface DaemonKind {
  readonly name: string;
  /** `number` tells the daemons of one test apart, from 1. */
  start(number?: number): Promise<TestDaemon>;
}

/** On the daemon's host, where QEMU may read and write. */
const IMAGES = "/var/lib/libvirt/images";
const imagePath = (name: string): string => `${IMAGES}/${name}.qcow2`;

const fake: DaemonKind = {
  name: "the fake libvirtd",
  start: async () => {
    const server = await FakeLibvirtServer.start();
    return {
      socketPath: server.socketPath,
      kill: () => server.kill(),
      restart: () => server.restart(),
      freeze: async () => server.freeze(),
      thaw: async () => server.thaw(),
      block: async () => {
        const release = server.hold("domainSuspend");
        return async () => release();
      },
      image: async (name) => imagePath(name),
      cling: ({ uuid }) => {
        server.domains.byUuid(uuid).clings = true;
      },
      guestIdentity: ({ uuid }) => String(server.domains.byUuid(uuid).id),
      stop: () => server.stop(),
    };
  },
};

/** These tests need a libvirtd and no network. */
const noUnderlay: Pick<Underlay, "addressOf" | "attach"> = {
  addressOf: () => "127.0.0.1",
  attach: async () => {},
};

/** The QEMU of a domain, as seen from this machine. Domains of other nodes have other UUIDs. */
const qemuOf = ({ uuid }: DomainRef): number | undefined =>
  listProcesses().find(
    ({ pid, state }) =>
      state !== "Z" && argumentsOf(pid).includes("-uuid") && argumentsOf(pid).includes(uuid),
  )?.pid;

const requireQemu = (domain: DomainRef): number => {
  const pid = qemuOf(domain);
  if (pid === undefined) throw new Error(`no QEMU runs domain ${domain.name}`);
  return pid;
};

const makeImage = async (node: TestNode, name: string, options: ImageOptions): Promise<string> => {
  const { sizeMib, writtenMib = 0, backing } = options;
  const path = imagePath(name);
  const below = backing === undefined ? [] : ["-b", backing, "-F", "qcow2"];
  await node.run(["mkdir", "-p", IMAGES]);
  await node.run(["rm", "-f", path]);
  await node.run(["qemu-img", "create", "-q", "-f", "qcow2", ...below, path, `${sizeMib}M`]);
  if (writtenMib > 0) {
    await node.run(["qemu-io", "-f", "qcow2", "-c", `write -q -P 85 0 ${writtenMib}M`, path]);
  }
  return path;
};

const realDaemon = (node: TestNode, directory: string): TestDaemon => ({
  socketPath: node.libvirtSocket,
  kill: () => node.killLibvirtd("SIGKILL"),
  restart: () => node.startLibvirtd(),
  freeze: () => node.freezeLibvirtd(),
  thaw: () => node.thawLibvirtd(),
  block: async (domain) => {
    const pid = requireQemu(domain);
    process.kill(pid, "SIGSTOP");
    return async () => void process.kill(pid, "SIGCONT");
  },
  image: (name, options) => makeImage(node, name, options),
  cling: () => {},
  guestIdentity: (domain) => String(requireQemu(domain)),
  stop: async () => {
    await node.stop();
    await waitFor("the node's directory can be removed", () =>
      rm(directory, { recursive: true, force: true }).then(() => true),
    );
  },
});

export const realLibvirtd: DaemonKind = {
  name: "the real libvirtd",
  start: async (number = 1) => {
    const directory = await makeTemporaryDirectory("libvirt");
    const nodeDirectory = join(directory, "node");
    await mkdir(nodeDirectory);
    const node = await startNode({
      name: `libvirt-contract-${number}`,
      number,
      directory: nodeDirectory,
      lifetime: "owner",
      underlay: noUnderlay,
    });
    return realDaemon(node, directory);
  },
};

/** Every suite of this folder runs on both. */
export const daemonKinds: readonly DaemonKind[] = [fake, realLibvirtd];
