import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import type { DiskChain, LiveMerge } from "../../../src/node-agent/volumes/types.ts";

/**
 * A guest's disk without a guest: QEMU's own block layer, with the chain opened
 * as libvirt has QEMU open it, and block jobs as libvirt starts them.
 */
export interface RunningDisk extends AsyncDisposable {
  /** qemu-io commands on the disk as the guest sees it. */
  io(...commands: readonly string[]): void;
  /** What a disk-only snapshot with REUSE_EXT does. */
  changeOver(overlayPath: string): Promise<void>;
  /** Resolves when the block job has ended. */
  merge(merge: LiveMerge): Promise<void>;
  /** Starts a slow block job, and returns when it is under way. */
  startSlowly(merge: LiveMerge): Promise<void>;
  kill(): Promise<void>;
}

const answer = z.object({
  return: z.unknown().optional(),
  error: z.object({ desc: z.string() }).optional(),
  event: z.string().optional(),
  data: z.record(z.string(), z.unknown()).optional(),
});
type Answer = z.output<typeof answer>;

/** As qemuBlockStorageSourceGetBackendProps of libvirt writes them. */
const nodesOf = (path: string, format: string, backing: string | null, isReadOnly: boolean) => {
  const cache = { direct: false, "no-flush": false };
  const file = {
    driver: "file",
    filename: path,
    "node-name": `file:${path}`.slice(-31),
    "auto-read-only": true,
    discard: "unmap",
    cache,
  };
  const name = nodeName(path);
  return {
    name,
    file,
    format: {
      driver: format,
      "node-name": name,
      "read-only": isReadOnly,
      discard: "unmap",
      cache,
      file: file["node-name"],
      ...(format === "qcow2" ? { backing } : {}),
    },
  };
};

const names = new Map<string, string>();
const nodeName = (path: string): string => {
  const name = names.get(path) ?? `n${names.size}`;
  names.set(path, name);
  return name;
};

const open = async (socketPath: string, child: ReturnType<typeof spawn>) => {
  const stdout = child.stdout;
  if (stdout === null) throw new Error("the storage daemon has no output");
  const socket = connect(socketPath);
  await once(socket, "connect");
  const lines = createInterface({ input: socket });
  const waiting: ((answer: Answer) => void)[] = [];
  const events = new Set<(answer: Answer) => void>();
  lines.on("line", (line) => {
    const message = answer.parse(JSON.parse(line));
    if (message.event === undefined) {
      if ("return" in message || "error" in message) waiting.shift()?.(message);
    } else for (const listener of events) listener(message);
  });
  const ask = async (execute: string, args: object = {}): Promise<void> => {
    const answered = Promise.withResolvers<Answer>();
    waiting.push(answered.resolve);
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const { error } = await answered.promise;
    if (error !== undefined) throw new Error(`${execute}: ${error.desc}`);
  };
  await ask("qmp_capabilities");
  return { ask, events, close: () => socket.destroy() };
};

const addNode = async (
  ask: (execute: string, args: object) => Promise<void>,
  want: {
    readonly path: string;
    readonly format: string;
    readonly backing: string | null;
    readonly isReadOnly: boolean;
  },
): Promise<string> => {
  const { name, file, format } = nodesOf(want.path, want.format, want.backing, want.isReadOnly);
  await ask("blockdev-add", { ...file, "node-name": `f${name}` });
  await ask("blockdev-add", { ...format, file: `f${name}` });
  return name;
};

/** Starts the daemon with the chain as the room tells it. `directory` is for its sockets. */
export const startDisk = async (chain: DiskChain, directory: string): Promise<RunningDisk> => {
  names.clear();
  const qmp = join(directory, `qmp-${process.hrtime.bigint()}`);
  const nbd = `${qmp}.nbd`;
  const child = spawn(
    "qemu-storage-daemon",
    [
      "--chardev",
      `socket,id=qmp,path=${qmp},server=on,wait=off`,
      "--monitor",
      "chardev=qmp",
      "--nbd-server",
      `addr.type=unix,addr.path=${nbd}`,
      "--daemonize",
      "--pidfile",
      `${qmp}.pid`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  await once(child, "exit");
  const pid = Number(execFileSync("cat", [`${qmp}.pid`], { encoding: "utf8" }));
  const { ask, events, close } = await open(qmp, child);
  let below: string | null = null;
  for (const { path, format } of chain.backing.toReversed())
    below = await addNode(ask, { path, format, backing: below, isReadOnly: true });
  let head = await addNode(ask, { path: chain.path, format: "qcow2", backing: below, isReadOnly: false });
  await ask("block-export-add", { type: "nbd", id: "disk", "node-name": head, name: "disk", writable: true });

  const start = (merge: LiveMerge, speed: number): Promise<void> => {
    const common = { "job-id": "merge", device: head, speed };
    if (merge.kind === "commit")
      return ask("block-commit", {
        ...common,
        "top-node": nodeName(merge.topPath),
        "base-node": nodeName(merge.basePath),
      });
    const base = merge.basePath === undefined ? {} : { "base-node": nodeName(merge.basePath) };
    return ask("block-stream", { ...common, ...base });
  };
  const jobEnd = (): Promise<void> => {
    const ended = Promise.withResolvers<void>();
    const listener = ({ event, data }: Answer): void => {
      if (event !== "JOB_STATUS_CHANGE" || data?.["status"] !== "null") return;
      events.delete(listener);
      ended.resolve();
    };
    events.add(listener);
    return ended.promise;
  };
  const kill = async (): Promise<void> => {
    close();
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
    // The locks on the files are gone when the process is.
    execFileSync("tail", [`--pid=${pid}`, "-f", "/dev/null"]);
  };

  return {
    io: (...commands) => {
      const args = commands.flatMap((command) => ["-c", command]);
      const url = `nbd+unix:///disk?socket=${nbd}`;
      const output = execFileSync("qemu-io", ["-f", "raw", ...args, url], { encoding: "utf8" });
      if (/failed|error/i.test(output)) throw new Error(output);
    },
    async changeOver(overlayPath) {
      const overlay = await addNode(ask, {
        path: overlayPath,
        format: "qcow2",
        backing: null,
        isReadOnly: false,
      });
      await ask("blockdev-snapshot", { node: head, overlay });
      head = overlay;
    },
    async merge(merge) {
      const ended = jobEnd();
      await start(merge, 0);
      await ended;
    },
    startSlowly: (merge) => start(merge, 64 * 1024),
    kill,
    [Symbol.asyncDispose]: kill,
  };
};
