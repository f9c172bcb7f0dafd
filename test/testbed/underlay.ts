import { mkdir, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";

import { findDaemon, startDaemon, type Daemon, type Lifetime } from "./daemon.ts";
import { RUNTIME_DIRECTORY, withLock } from "./lock.ts";
import { identityOf, isAlive, processIdentitySchema } from "./process-table.ts";
import { run } from "./programs.ts";

/**
 * The network that joins the nodes of one testbed: a bridge in a network
 * namespace of its own, and one leg from it into the machine's namespace, so
 * that nodes reach the API server and we reach the nodes.
 *
 * The bridge is not in the machine's own namespace because there it would meet
 * the machine's firewall (bridge-nf), and because a namespace, with both ends
 * of its legs, is gone when its one process is: a killed test leaves nothing.
 */
export interface Underlay {
  /** Number of this testbed among those of this machine, 0 to 255; it is in the names and addresses. */
  readonly index: number;
  /** Address of the machine in this network; the API server listens here. */
  readonly hostAddress: string;
  /** The network in CIDR notation, a /24. */
  readonly cidr: string;
  /**
   * The world outside of the cluster: a host of this network that has this
   * address, is the nodes' default router, and forwards nothing, so that what
   * guests send to anywhere ends there.
   */
  readonly outsideAddress: string;
  /** Process whose network namespace is that host's, for `nsenter --net`. */
  readonly outsidePid: number;
  /** Runs a program on that host and resolves with its standard output. */
  runOutside(argv: readonly [string, ...string[]]): Promise<string>;
  /** Address of the node with that number, 1 to 200. */
  addressOf(nodeNumber: number): string;
  /** Gives the network namespace of process `pid` a device eth0 with the node's address. */
  attach(nodeNumber: number, pid: number): Promise<void>;
  stop(): Promise<void>;
}

export interface UnderlayOptions {
  /** Folder for the identity of the namespace's process. */
  readonly directory: string;
  readonly lifetime: Lifetime;
}

const DAEMON = "underlay";
const BRIDGE = "underlay";
const LAST_INDEX = 255;

/** First two numbers of all testbeds' networks; another may be named where this one is in use. */
const networkPrefix = (): string => process.env["VIREO_TESTBED_NETWORK"] ?? "10.99";

const hostDevice = (index: number): string => `vireo-u${index}`;
/** One file per index in use, with the identity of the process that holds the network. */
const SLOTS = join(RUNTIME_DIRECTORY, "underlays");

/** Indexes that a living testbed holds, by the identity of its namespace's process. */
const heldIndexes = async (): Promise<ReadonlySet<number>> => {
  const held = new Set<number>();
  for (const name of await readdir(SLOTS)) {
    if (!/^\d+$/.test(name)) continue;
    const slot = processIdentitySchema.parse(JSON.parse(await readFile(join(SLOTS, name), "utf8")));
    if (isAlive(slot)) held.add(Number(name));
  }
  // Containers on this machine may share its network but not its /tmp.
  for (const device of Object.keys(networkInterfaces())) {
    const [, index] = /^vireo-u(\d+)$/.exec(device) ?? [];
    if (index !== undefined) held.add(Number(index));
  }
  return held;
};

const claimIndex = (daemon: Daemon): Promise<number> =>
  withLock(join(SLOTS, "lock"), async () => {
    const held = await heldIndexes();
    const index = Array.from({ length: LAST_INDEX + 1 }, (_, i) => i).find((i) => !held.has(i));
    if (index === undefined)
      throw new Error(`all ${LAST_INDEX + 1} testbed networks of this machine are in use`);
    const slot = join(SLOTS, String(index));
    await writeFile(`${slot}.tmp`, JSON.stringify(identityOf(daemon.pid)));
    await rename(`${slot}.tmp`, slot);
    return index;
  });

/** Runs `ip` in the network namespace of process `pid`. */
const ipIn = (pid: number, ...args: readonly string[]): Promise<string> =>
  run("nsenter", ["--target", String(pid), "--net", "--", "ip", ...args]);

const ip = (...args: readonly string[]): Promise<string> => run("ip", args);

const build = async (
  { pid }: Daemon,
  index: number,
  addresses: Pick<Underlay, "hostAddress" | "outsideAddress">,
): Promise<void> => {
  const { hostAddress, outsideAddress } = addresses;
  const device = hostDevice(index);
  await ipIn(pid, "link", "set", "lo", "up");
  await ipIn(pid, "link", "add", BRIDGE, "type", "bridge");
  await ipIn(pid, "link", "set", BRIDGE, "up");
  await ipIn(pid, "address", "add", `${outsideAddress}/24`, "dev", BRIDGE);
  await ip("link", "add", device, "type", "veth", "peer", "name", "host", "netns", String(pid));
  await ipIn(pid, "link", "set", "host", "master", BRIDGE, "up");
  await ip("address", "add", `${hostAddress}/24`, "dev", device);
  await ip("link", "set", device, "up");
};

const attachNode = async (
  daemon: Daemon,
  port: string,
  { address, router }: { readonly address: string; readonly router: string },
  pid: number,
): Promise<void> => {
  const bridgeEnd = [port, "netns", String(daemon.pid)];
  const nodeEnd = ["eth0", "netns", String(pid)];
  // A node that was just switched off: the kernel takes its time to remove a namespace's devices.
  await ipIn(daemon.pid, "link", "delete", port).catch(() => "it is gone already");
  await ip("link", "add", ...bridgeEnd, "type", "veth", "peer", "name", ...nodeEnd);
  await ipIn(daemon.pid, "link", "set", port, "master", BRIDGE, "up");
  await ipIn(pid, "link", "set", "lo", "up");
  await ipIn(pid, "address", "add", `${address}/24`, "dev", "eth0");
  await ipIn(pid, "link", "set", "eth0", "up");
  await ipIn(pid, "route", "add", "default", "via", router);
};

const stop = async (daemon: Daemon, index: number): Promise<void> => {
  // The kernel takes its time to remove a namespace's devices; the next testbed may want the name now.
  await ip("link", "delete", hostDevice(index)).catch(() => "it is gone already");
  await daemon.stop(0);
};

/** Makes the network, or finds the one that runs for this directory. */
export const startUnderlay = async (options: UnderlayOptions): Promise<Underlay> => {
  await mkdir(SLOTS, { recursive: true });
  const indexFile = join(options.directory, "underlay.index");
  const running = findDaemon(options.directory, DAEMON);
  const daemon =
    running ??
    (await startDaemon({
      name: DAEMON,
      directory: options.directory,
      lifetime: options.lifetime,
      argv: ["unshare", "--net", "sleep", "infinity"],
    }));
  const index = running === undefined ? await claimIndex(daemon) : Number(await readFile(indexFile, "utf8"));
  const prefix = `${networkPrefix()}.${index}`;
  const outsideAddress = `${prefix}.254`;
  const addressOf = (nodeNumber: number): string => `${prefix}.${10 + nodeNumber}`;
  const underlay: Underlay = {
    index,
    hostAddress: `${prefix}.1`,
    cidr: `${prefix}.0/24`,
    outsideAddress,
    outsidePid: daemon.pid,
    runOutside: (argv) => run("nsenter", ["--target", String(daemon.pid), "--net", "--", ...argv]),
    addressOf,
    attach: (nodeNumber, pid) =>
      attachNode(
        daemon,
        `node${nodeNumber}`,
        { address: addressOf(nodeNumber), router: outsideAddress },
        pid,
      ),
    stop: () => stop(daemon, index),
  };
  if (running === undefined) {
    try {
      await build(daemon, index, underlay);
      await writeFile(indexFile, String(index));
    } catch (error) {
      await underlay.stop();
      throw error;
    }
  }
  return underlay;
};
