import { chmod, copyFile, mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { openLibvirt, type LibvirtClient } from "../../../src/libvirt/index.ts";
import {
  createDomains,
  createLiveDomains,
  type Domain,
  domainEventKinds,
  type Domains,
  type LiveDomains,
} from "../../../src/node-agent/domains/index.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { ensureGuestImage } from "../../testbed/guest-images/index.ts";
import { startNode, type TestNode } from "../../testbed/node.ts";
import { argumentsOf, listProcesses } from "../../testbed/process-table.ts";
import { run } from "../../testbed/programs.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import type { Underlay } from "../../testbed/underlay.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type GuestShell, openShell } from "./guest-shell.ts";
import { wantedDomain } from "../../unit/node-agent/domains/wanted.ts";

/** So little that a tiny guest passes it with its first words. */
export const MAX_CONSOLE_LOG_BYTES = 32;

/** A node's libvirt with the domains room on it. */
export interface TestHost {
  readonly domains: Domains;
  readonly live: LiveDomains;
  readonly libvirt: LibvirtClient;
  readonly stateDirectory: string;
  /** A machine with disk, seed and tap on this host. */
  prepare(vmUid: string, changes?: Partial<Domain>): Promise<Domain>;
  /** Resolves when the guest has booted so many times, and hears its power button. Default: once. */
  whenBooted(vmUid: string, times?: number): Promise<void>;
  /** Ends the guest as an accident does. */
  crash(vmUid: string): Promise<void>;
  killDaemon(): Promise<void>;
  restartDaemon(): Promise<void>;
  stop(): Promise<void>;
}

/** What only a host with real guests can do. */
export interface RealHost extends TestHost {
  readonly node: TestNode;
  /** Sits down at the serial console of a guest that has booted. */
  openShell(vmUid: string): Promise<GuestShell>;
  /** A new disk file, empty or with a file below it that it starts from. */
  createDisk(name: string, disk: { readonly sizeMiB?: number; readonly backing?: string }): Promise<string>;
  /** Owner of the image that guests share. */
  imageOwner(): Promise<number>;
  /** Files of guests that libvirt keeps itself. */
  variables(): Promise<readonly string[]>;
}

const newStateDirectory = async (): Promise<string> => {
  const directory = await makeTemporaryDirectory("domains");
  // QEMU is not root and must get through.
  await chmod(directory, 0o711);
  return directory;
};

const roomOn = (
  socketPath: string,
  stateDirectory: string,
): Pick<TestHost, "domains" | "live" | "libvirt"> => {
  const libvirt = openLibvirt({ socketPath, events: domainEventKinds, backOff: { minMs: 20, maxMs: 200 } });
  const files = createFiles({ roots: [stateDirectory] });
  return {
    libvirt,
    live: createLiveDomains({ libvirt }),
    domains: createDomains({ libvirt, stateDirectory, files, maxConsoleLogBytes: MAX_CONSOLE_LOG_BYTES }),
  };
};

const startFake = async (): Promise<TestHost> => {
  const stateDirectory = await newStateDirectory();
  const server = await FakeLibvirtServer.start();
  const room = roomOn(server.socketPath, stateDirectory);
  return {
    ...room,
    stateDirectory,
    prepare: async (vmUid, changes = {}) => wantedDomain({ vmUid, ...changes }),
    whenBooted: async () => {},
    crash: async (vmUid) => server.domains.crash(server.domains.byUuid(vmUid)),
    killDaemon: () => server.kill(),
    restartDaemon: () => server.restart(),
    stop: async () => {
      await room.libvirt.close();
      await server.stop();
      await rm(stateDirectory, { recursive: true });
    },
  };
};

/** These tests need a libvirtd and no network. */
const underlay: Pick<Underlay, "addressOf" | "attach"> = {
  addressOf: () => "127.0.0.1",
  attach: async () => {},
};

const tapOf = (vmUid: string): string => `vtap${vmUid.slice(0, 8)}000`;

const prepareOn = async (
  node: TestNode,
  stateDirectory: string,
  image: string,
  vmUid: string,
): Promise<Domain> => {
  const directory = join(stateDirectory, vmUid);
  await mkdir(directory);
  const path = join(directory, "root.qcow2");
  await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", path, "1G"]);
  const seedPath = join(directory, "seed.iso");
  await writeFile(seedPath, Buffer.alloc(65_536));
  await node.run(["ip", "tuntap", "add", "dev", tapOf(vmUid), "mode", "tap", "vnet_hdr"]);
  return wantedDomain({
    vmUid,
    vcpus: 1,
    memoryMiB: 128,
    rootDisk: {
      layers: [
        { path, format: "qcow2" },
        { path: image, format: "qcow2", shared: true },
      ],
    },
    seedPath,
    interfaces: [{ network: "blue", tap: tapOf(vmUid), macAddress: "02:00:00:00:00:0b", mtu: 1450 }],
  });
};

const killQemu = (vmUid: string): void => {
  const qemu = listProcesses().find(
    ({ pid, state }) =>
      state !== "Z" && argumentsOf(pid).includes("-uuid") && argumentsOf(pid).includes(vmUid),
  );
  if (qemu === undefined) throw new Error(`no QEMU runs machine ${vmUid}`);
  process.kill(qemu.pid, "SIGKILL");
};

/** Where libvirt keeps the variables of guests with UEFI, in a node's directory. */
const VARIABLES = "lib-libvirt/qemu/nvram";

export const startReal = async (): Promise<RealHost> => {
  const stateDirectory = await newStateDirectory();
  const directory = join(stateDirectory, "node");
  await mkdir(directory);
  const image = join(stateDirectory, "image.qcow2");
  await copyFile((await ensureGuestImage("tiny")).path, image);
  await chmod(image, 0o444);
  const node = await startNode({ name: "domains", number: 1, directory, underlay, lifetime: "owner" });
  const room = roomOn(node.libvirtSocket, stateDirectory);
  return {
    ...room,
    stateDirectory,
    prepare: async (vmUid, changes = {}) => ({
      ...(await prepareOn(node, stateDirectory, image, vmUid)),
      ...changes,
    }),
    whenBooted: async (vmUid, times = 1) => {
      const log = join(stateDirectory, "consoles", `${vmUid}.log`);
      await waitFor(
        `guest ${vmUid} booted`,
        async () => (await readFile(log, "utf8")).split("vireo-guest ready").length > times,
        { timeoutMs: 120_000 },
      );
    },
    crash: async (vmUid) => killQemu(vmUid),
    killDaemon: () => node.killLibvirtd("SIGKILL"),
    restartDaemon: () => node.startLibvirtd(),
    node,
    openShell: (vmUid) => openShell(join(stateDirectory, "consoles", `${vmUid}.sock`)),
    createDisk: async (name, { sizeMiB, backing }) => {
      const path = join(stateDirectory, name);
      const from = backing === undefined ? [] : ["-b", backing, "-F", "qcow2"];
      const size = sizeMiB === undefined ? [] : [`${sizeMiB}M`];
      await run("qemu-img", ["create", "-q", "-f", "qcow2", ...from, path, ...size]);
      return path;
    },
    imageOwner: async () => (await stat(image)).uid,
    variables: () => readdir(join(directory, VARIABLES)),
    stop: async () => {
      await room.libvirt.close();
      await node.stop();
      await waitFor("the node's directory can be removed", () =>
        rm(stateDirectory, { recursive: true, force: true }).then(() => true),
      );
    },
  };
};

export interface HostKind {
  readonly name: string;
  start(): Promise<TestHost>;
}

/** The suite of this folder runs on both. */
export const hostKinds: readonly HostKind[] = [
  { name: "the fake libvirtd", start: startFake },
  { name: "the real libvirtd", start: startReal },
];
