import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import type { DiskChain, LiveMerge } from "../../../src/node-agent/volumes/types.ts";

/**
 * A guest's disk without a guest: QEMU's own block layer, with the chain opened
 * as libvirt has QEMU open it, and block jobs as libvirt starts them.
 */
export interface RunningDisk {
  /** qemu-io commands on the disk as the guest sees it. */
  io(...commands: readonly string[]): void;
  /** What a disk-only snapshot with REUSE_EXT does. */
  changeOver(overlayPath: string): Promise<void>;
  /** Resolves when the block job has ended. */
  merge(merge: LiveMerge): Promise<void>;
  /** Starts a block job that takes minutes. */
  startSlowly(merge: LiveMerge): Promise<void>;
  /** As when QEMU crashes. Resolves when its locks are gone. */
  kill(): Promise<void>;
}

const message = z.object({
  return: z.unknown().optional(),
  error: z.object({ desc: z.string() }).optional(),
  event: z.string().optional(),
  data: z.object({ status: z.string().optional() }).optional(),
});
type Message = z.output<typeof message>;

/** https://qemu.readthedocs.io/en/latest/interop/qemu-storage-daemon-qmp-ref.html */
interface Monitor {
  readonly ask: (command: string, args?: object) => Promise<void>;
  /** Resolves with the next event that fits. */
  readonly next: (fits: (event: Message) => boolean) => Promise<void>;
  close(): void;
}

const openMonitor = async (socketPath: string): Promise<Monitor> => {
  const socket = connect(socketPath);
  await once(socket, "connect");
  const answers: ((answer: Message) => void)[] = [];
  const listeners = new Set<(event: Message) => void>();
  createInterface({ input: socket }).on("line", (line) => {
    const said = message.parse(JSON.parse(line));
    if (said.event !== undefined) for (const listener of listeners) listener(said);
    else if (said.return !== undefined || said.error !== undefined) answers.shift()?.(said);
  });
  const ask: Monitor["ask"] = async (command, args = {}) => {
    const answered = Promise.withResolvers<Message>();
    answers.push(answered.resolve);
    socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const { error } = await answered.promise;
    if (error !== undefined) throw new Error(`${command}: ${error.desc}`);
  };
  await ask("qmp_capabilities");
  return {
    ask,
    next: (fits) => {
      const found = Promise.withResolvers<void>();
      const listener = (event: Message): void => {
        if (!fits(event)) return;
        listeners.delete(listener);
        found.resolve();
      };
      listeners.add(listener);
      return found.promise;
    },
    close: () => socket.destroy(),
  };
};

interface Node {
  readonly path: string;
  readonly format: string;
  /** Name of the node below. */
  readonly backing: string | null;
  readonly isReadOnly: boolean;
}

/** Block nodes by their files, with the options that libvirt gives them. */
const createNodes = ({ ask }: Monitor) => {
  const names = new Map<string, string>();
  const common = { discard: "unmap", cache: { direct: false, "no-flush": false } } as const;
  return {
    nameOf: (path: string): string => {
      const name = names.get(path);
      if (name === undefined) throw new Error(`${path} is not open`);
      return name;
    },
    add: async ({ path, format, backing, isReadOnly }: Node): Promise<string> => {
      const name = `format-${names.size}`;
      const file = `file-${names.size}`;
      names.set(path, name);
      const storage = { driver: "file", filename: path, "node-name": file, "auto-read-only": true };
      await ask("blockdev-add", { ...common, ...storage });
      const layer = { driver: format, file, "node-name": name, "read-only": isReadOnly };
      await ask("blockdev-add", { ...common, ...layer, ...(format === "qcow2" ? { backing } : {}) });
      return name;
    },
  };
};

const startDaemon = (directory: string) => {
  const base = join(directory, `daemon-${process.hrtime.bigint()}`);
  const paths = { monitor: `${base}.qmp`, disk: `${base}.nbd`, pid: `${base}.pid` };
  const monitor = ["--chardev", `socket,id=qmp,path=${paths.monitor},server=on,wait=off`];
  const nbd = ["--nbd-server", `addr.type=unix,addr.path=${paths.disk}`];
  const background = ["--daemonize", "--pidfile", paths.pid];
  execFileSync("qemu-storage-daemon", [...monitor, "--monitor", "chardev=qmp", ...nbd, ...background]);
  return { ...paths, pid: Number(readFileSync(paths.pid, "utf8")) };
};

const SLOWLY = 64 * 1024;

/** Opens the chain as the room tells it. `directory` is for sockets. */
export const startDisk = async (chain: DiskChain, directory: string): Promise<RunningDisk> => {
  const daemon = startDaemon(directory);
  const monitor = await openMonitor(daemon.monitor);
  const { ask, next } = monitor;
  const nodes = createNodes(monitor);
  let below: string | null = null;
  for (const { path, format } of chain.backing.toReversed())
    below = await nodes.add({ path, format, backing: below, isReadOnly: true });
  let head = await nodes.add({ path: chain.path, format: "qcow2", backing: below, isReadOnly: false });
  await ask("block-export-add", { type: "nbd", id: "disk", "node-name": head, name: "disk", writable: true });

  const start = (merge: LiveMerge, speed: number): Promise<void> => {
    const job = { "job-id": "merge", device: head, speed };
    if (merge.kind === "commit") {
      const [top, base] = [nodes.nameOf(merge.topPath), nodes.nameOf(merge.basePath)];
      return ask("block-commit", { ...job, "top-node": top, "base-node": base });
    }
    const { basePath } = merge;
    return ask(
      "block-stream",
      basePath === undefined ? job : { ...job, "base-node": nodes.nameOf(basePath) },
    );
  };

  return {
    io: (...commands) => {
      const args = commands.flatMap((command) => ["-c", command]);
      const url = `nbd+unix:///disk?socket=${daemon.disk}`;
      const output = execFileSync("qemu-io", ["-f", "raw", ...args, url], { encoding: "utf8" });
      if (/failed|error/i.test(output)) throw new Error(output);
    },
    changeOver: async (overlayPath) => {
      const overlay = await nodes.add({
        path: overlayPath,
        format: "qcow2",
        backing: null,
        isReadOnly: false,
      });
      await ask("blockdev-snapshot", { node: head, overlay });
      head = overlay;
    },
    merge: async (merge) => {
      // The job of that status is gone; until then the files may still change.
      const ended = next(({ event, data }) => event === "JOB_STATUS_CHANGE" && data?.status === "null");
      await start(merge, 0);
      await ended;
    },
    startSlowly: (merge) => start(merge, SLOWLY),
    kill: async () => {
      monitor.close();
      try {
        process.kill(daemon.pid, "SIGKILL");
      } catch {
        // It was killed before.
      }
      execFileSync("tail", [`--pid=${daemon.pid}`, "--follow", "/dev/null"]);
    },
  };
};
