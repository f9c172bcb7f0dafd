import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { exists } from "./cache.ts";
import { capabilitiesCache } from "./capabilities-cache.ts";
import {
  assertRunning,
  DIES_WITH_PARENT,
  findDaemon,
  startDaemon,
  type Daemon,
  type DaemonOptions,
  type Lifetime,
} from "./daemon.ts";
import { writeLibvirtConfiguration } from "./libvirt-configuration.ts";
import { childrenOf, findInNamespaceOf } from "./process-table.ts";
import { programEnvironment, run, type ProgramOptions } from "./programs.ts";
import type { Underlay } from "./underlay.ts";
import { waitFor } from "./wait.ts";

export interface NodeOptions {
  /** Name of the node and its host name. */
  readonly name: string;
  /** Number of the node in its testbed, 1 to 200; it decides the address. */
  readonly number: number;
  /** What is on the node's disk; a later start over the same directory is the same node, rebooted. */
  readonly directory: string;
  readonly underlay: Pick<Underlay, "addressOf" | "attach">;
  readonly lifetime: Lifetime;
  /** Shows the node /dev/kvm. Default false: guests are emulated, which is slow and works everywhere. */
  readonly kvm?: boolean;
}

/**
 * A "node": mount, network, UTS and PID namespaces with a libvirtd of their own.
 *
 * Its /run, /dev, /sys, /etc/libvirt, /var/lib/libvirt, /var/lib/vireo,
 * /var/log/libvirt and /var/cache/libvirt are private; all else of the file
 * system is the machine's. Processes live in the node's PID namespace: powering
 * it off ends them all, guests included, as a power cut does.
 */
export interface TestNode {
  readonly name: string;
  /** Address in the underlay. */
  readonly address: string;
  readonly directory: string;
  /** The network namespace, for `nsenter --net=…`. Changes when the node is powered on again. */
  readonly netns: string;
  /** The node's PID 1 as seen from the machine. Changes when the node is powered on again. */
  readonly pid: number;
  /** libvirtd's socket as seen from the machine. Inside the node it is /run/libvirt/libvirt-sock. */
  readonly libvirtSocket: string;
  /** /var/lib/vireo of the node as seen from the machine. */
  readonly stateDirectory: string;
  /** Runs a program in the node and resolves with its standard output. */
  run(argv: readonly [string, ...string[]], options?: ProgramOptions): Promise<string>;
  /**
   * Starts a program in the node, with pipes unless `options` say otherwise. The
   * returned process is nsenter: when it is killed the program is killed too, but
   * other signals do not reach the program. Use startDaemon for what must be signalled.
   */
  spawn(argv: readonly [string, ...string[]], options?: SpawnOptions): ChildProcess;
  /** Starts a long-running program in the node, with its log and identity in the node's directory. */
  startDaemon(options: Pick<DaemonOptions, "name" | "argv" | "env" | "cwd">): Promise<Daemon>;
  /** The daemon of that name in this node, if it runs. */
  findDaemon(name: string): Daemon | undefined;
  /** libvirt's own client, connected to this node. */
  virsh(args: readonly string[]): Promise<string>;
  /** SIGKILL and SIGTERM resolve when libvirtd has ended; guests go on. */
  killLibvirtd(signal: NodeJS.Signals): Promise<void>;
  /** Resolves when libvirtd answers; does nothing when it runs. */
  startLibvirtd(): Promise<void>;
  /** Stops libvirtd without ending it: connections stay open and are not answered. */
  freezeLibvirtd(): Promise<void>;
  thawLibvirtd(): Promise<void>;
  /** Ends everything in the node at once. Its directory stays. */
  powerOff(): Promise<void>;
  /** Boots the node again over its directory, with an empty /run. */
  powerOn(): Promise<void>;
  /** Powers off. The directory is its owner's to remove. */
  stop(): Promise<void>;
}

const HOLDER = "node";
const LIBVIRTD = "libvirtd";
const READY_TIMEOUT_MS = 60_000;
/** New namespaces for PID 1, which is killed when unshare is. */
const UNSHARE = [
  "unshare",
  "--mount",
  "--net",
  "--uts",
  "--pid",
  "--fork",
  "--mount-proc",
  "--kill-child=KILL",
] as const;
const INIT = join(import.meta.dirname, "node-init.sh");

const PRIVATE_DIRECTORIES = [
  // For virsh console.
  "run/lock",
  "etc-libvirt",
  "lib-libvirt",
  "log-libvirt",
  "cache-libvirt",
  "lib-vireo",
];
/** Directories of the machine that private ones are mounted over. */
const MOUNT_POINTS = [
  "/etc/libvirt",
  "/var/lib/libvirt",
  "/var/log/libvirt",
  "/var/cache/libvirt",
  "/var/lib/vireo",
];

const holderOf = (options: NodeOptions): Daemon | undefined => findDaemon(options.directory, HOLDER);

const pidOf = (options: NodeOptions): number => {
  const holder = holderOf(options);
  if (holder === undefined) throw new Error(`node ${options.name} is powered off`);
  return holder.pid;
};

const enter = (pid: number): readonly [string, ...string[]] => [
  "nsenter",
  "--target",
  String(pid),
  "--mount",
  "--net",
  "--uts",
  "--pid",
  "--",
];

const prepareDirectory = async (options: NodeOptions): Promise<void> => {
  await rm(join(options.directory, "run"), { recursive: true, force: true });
  await rm(join(options.directory, "ready"), { force: true });
  for (const name of PRIVATE_DIRECTORIES) await mkdir(join(options.directory, name), { recursive: true });
  for (const path of MOUNT_POINTS) await mkdir(path, { recursive: true });
  await writeLibvirtConfiguration(join(options.directory, "etc-libvirt"));
  await capabilitiesCache.fill(join(options.directory, "cache-libvirt"));
};

const boot = async (options: NodeOptions): Promise<void> => {
  if (holderOf(options) !== undefined) return;
  await prepareDirectory(options);
  const holder = await startDaemon({
    name: HOLDER,
    directory: options.directory,
    lifetime: options.lifetime,
    locate: ({ pid }) => childrenOf(pid)[0]?.pid,
    argv: [...UNSHARE, "sh", INIT, options.name, options.directory, options.kvm === true ? "kvm" : "no-kvm"],
  });
  await waitFor(
    `node ${options.name} booted`,
    async () => {
      await assertRunning(holder);
      return exists(join(options.directory, "ready"));
    },
    { intervalMs: 10 },
  );
  await options.underlay.attach(options.number, holder.pid);
};

/** Leaves its own pid in the file $0 and becomes the program that follows. */
const ANNOUNCE_PID = 'echo $$ >"$0.tmp"; mv "$0.tmp" "$0"; exec "$@"';

/**
 * The program becomes a child of the node's PID 1, as daemons do (setsid --fork):
 * nsenter, if it stayed, would stop itself when the program is stopped, and then
 * neither reap it nor let the namespace end.
 */
const startInNode = async (
  options: NodeOptions,
  daemon: Pick<DaemonOptions, "name" | "argv" | "env" | "cwd">,
): Promise<Daemon> => {
  const nodePid = pidOf(options);
  const pidFile = join(options.directory, `${daemon.name}.inner-pid`);
  await rm(pidFile, { force: true });
  return startDaemon({
    ...daemon,
    directory: options.directory,
    lifetime: options.lifetime,
    locate: () =>
      existsSync(pidFile)
        ? findInNamespaceOf(nodePid, Number(readFileSync(pidFile, "utf8")))?.pid
        : undefined,
    argv: [...enter(nodePid), "setsid", "--fork", "sh", "-c", ANNOUNCE_PID, pidFile, ...daemon.argv],
  });
};

const virsh = (
  options: NodeOptions,
  args: readonly string[],
  settings: ProgramOptions = {},
): Promise<string> =>
  run("virsh", ["--connect", `qemu+unix:///system?socket=${socketOf(options)}`, ...args], settings);

const socketOf = (options: NodeOptions): string => join(options.directory, "run/libvirt/libvirt-sock");

const startLibvirtd = async (options: NodeOptions): Promise<void> => {
  const daemon =
    findDaemon(options.directory, LIBVIRTD) ??
    (await startInNode(options, { name: LIBVIRTD, argv: ["libvirtd"] }));
  await waitFor(
    `libvirtd of node ${options.name}`,
    async () => {
      await assertRunning(daemon);
      await virsh(options, ["uri"], { timeoutMs: 20_000 });
      return true;
    },
    { timeoutMs: READY_TIMEOUT_MS },
  );
  await capabilitiesCache.keep(join(options.directory, "cache-libvirt"), () =>
    virsh(options, ["capabilities"]),
  );
};

const powerOn = async (options: NodeOptions): Promise<void> => {
  await boot(options);
  await startLibvirtd(options);
};

const powerOff = async (options: NodeOptions): Promise<void> => {
  // The kernel ends all of a PID namespace with its PID 1, and that one last.
  await holderOf(options)?.kill("SIGKILL");
};

const signalLibvirtd = async (options: NodeOptions, signal: NodeJS.Signals): Promise<void> => {
  await findDaemon(options.directory, LIBVIRTD)?.kill(signal);
};

const nodeOf = (options: NodeOptions): TestNode => ({
  name: options.name,
  address: options.underlay.addressOf(options.number),
  directory: options.directory,
  get netns() {
    return `/proc/${pidOf(options)}/ns/net`;
  },
  get pid() {
    return pidOf(options);
  },
  libvirtSocket: socketOf(options),
  stateDirectory: join(options.directory, "lib-vireo"),
  run: ([file, ...args], settings) => {
    const [nsenter, ...target] = enter(pidOf(options));
    return run(nsenter, [...target, file, ...args], settings);
  },
  spawn: (argv, settings = {}) => {
    const [nsenter, ...target] = enter(pidOf(options));
    return spawn(nsenter, [...target, ...DIES_WITH_PARENT, ...argv], {
      env: programEnvironment(),
      ...settings,
    });
  },
  startDaemon: (daemon) => startInNode(options, daemon),
  findDaemon: (name) => findDaemon(options.directory, name),
  virsh: (args) => virsh(options, args),
  killLibvirtd: (signal) => signalLibvirtd(options, signal),
  startLibvirtd: () => startLibvirtd(options),
  freezeLibvirtd: () => signalLibvirtd(options, "SIGSTOP"),
  thawLibvirtd: () => signalLibvirtd(options, "SIGCONT"),
  powerOff: () => powerOff(options),
  powerOn: () => powerOn(options),
  stop: () => powerOff(options),
});

/** Boots a node, or finds it running in its directory, and resolves when its libvirtd answers. */
export const startNode = async (options: NodeOptions): Promise<TestNode> => {
  await powerOn(options);
  return nodeOf(options);
};
