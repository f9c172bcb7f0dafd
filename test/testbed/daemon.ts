import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

import { identityOf, isAlive, type ProcessIdentity, processIdentitySchema } from "./process-table.ts";
import { programEnvironment } from "./programs.ts";
import { HopelessError, waitFor } from "./wait.ts";

/**
 * A long-running program of a testbed.
 *
 * Its identity is on disk (NAME.pid.json beside NAME.log), not in this process's
 * memory: the demo's programs are found again by later commands, and a pid that
 * the kernel has given to somebody else meanwhile is not mistaken for ours.
 */
export interface Daemon {
  readonly name: string;
  /** Process id as seen from the machine, also for a program inside a node's namespaces. */
  readonly pid: number;
  /** Standard output and error of this and earlier runs. */
  readonly logPath: string;
  isRunning(): boolean;
  /**
   * Sends the signal. Resolves when the program has ended (SIGKILL, SIGTERM,
   * SIGINT) or at once (any other); a program that is gone already is no error.
   */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM, then SIGKILL when the program has not ended after `graceMs` (default 5,000). */
  stop(graceMs?: number): Promise<void>;
}

/**
 * How long a daemon lives: "owner" ends with the process that started it,
 * whatever ends that one (the kernel sees to it); "detached" lives on.
 */
export type Lifetime = "owner" | "detached";

export interface DaemonOptions {
  readonly name: string;
  /** Folder of the log and of the identity file. */
  readonly directory: string;
  readonly argv: readonly [string, ...string[]];
  readonly lifetime: Lifetime;
  /**
   * Finds the program where it is not the process that is spawned but one that
   * this one starts: asked again until it knows the pid. Default: the spawned process.
   */
  readonly locate?: (spawned: ProcessIdentity) => number | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** Working directory. Default: `directory`. */
  readonly cwd?: string;
}

const ENDING_SIGNALS: ReadonlySet<string> = new Set(["SIGKILL", "SIGTERM", "SIGINT"]);

const identityPath = (directory: string, name: string): string => join(directory, `${name}.pid.json`);
const logPathOf = (directory: string, name: string): string => join(directory, `${name}.log`);

/** The kernel sends the program SIGKILL when its parent ends. */
export const DIES_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] as const;

class RunningDaemon implements Daemon {
  readonly name: string;
  readonly logPath: string;
  readonly #identity: ProcessIdentity;
  readonly #directory: string;

  constructor(directory: string, name: string, identity: ProcessIdentity) {
    this.name = name;
    this.logPath = logPathOf(directory, name);
    this.#directory = directory;
    this.#identity = identity;
  }

  get pid(): number {
    return this.#identity.pid;
  }

  isRunning(): boolean {
    return isAlive(this.#identity);
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    if (this.isRunning()) process.kill(this.pid, signal);
    if (ENDING_SIGNALS.has(signal)) await this.#ended(30_000);
  }

  async stop(graceMs = 5_000): Promise<void> {
    if (this.isRunning()) process.kill(this.pid, "SIGTERM");
    // A frozen program would never see the SIGTERM.
    if (this.isRunning()) process.kill(this.pid, "SIGCONT");
    await this.#ended(graceMs).catch(() => this.kill("SIGKILL"));
    rmSync(identityPath(this.#directory, this.name), { force: true });
  }

  async #ended(timeoutMs: number): Promise<void> {
    await waitFor(`the end of ${this.name} (pid ${this.pid})`, () => !this.isRunning(), {
      timeoutMs,
      intervalMs: 10,
    });
  }
}

/** Finds the daemon that was started under that name and folder, by whichever process, if it still runs. */
export const findDaemon = (directory: string, name: string): Daemon | undefined => {
  let text: string;
  try {
    text = readFileSync(identityPath(directory, name), "utf8");
  } catch {
    return undefined;
  }
  const identity = processIdentitySchema.parse(JSON.parse(text));
  return isAlive(identity) ? new RunningDaemon(directory, name, identity) : undefined;
};

/** The end of a daemon's log, for an error message. */
export const logTail = async (logPath: string, bytes = 4096): Promise<string> => {
  const file = await open(logPath, "r");
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - bytes);
    const buffer = Buffer.alloc(size - start);
    await file.read(buffer, 0, buffer.length, start);
    return buffer.toString("utf8");
  } finally {
    await file.close();
  }
};

/** Throws HopelessError, with the end of the log, when the daemon has ended: for probes that await its service. */
export const assertRunning = async (daemon: Daemon): Promise<void> => {
  if (daemon.isRunning()) return;
  throw new HopelessError(
    `${daemon.name} has ended; the end of ${daemon.logPath}:\n${await logTail(daemon.logPath)}`,
  );
};

const spawnLogged = (options: DaemonOptions): Promise<number> => {
  const argv = options.lifetime === "owner" ? [...DIES_WITH_PARENT, ...options.argv] : options.argv;
  const [file = "", ...args] = argv;
  const log = openSync(logPathOf(options.directory, options.name), "a");
  const child = spawn(file, args, {
    cwd: options.cwd ?? options.directory,
    env: programEnvironment(options.env),
    stdio: ["ignore", log, log],
    // A session of its own: a Ctrl-C in the terminal is for us, and we end our daemons in order.
    detached: true,
  });
  closeSync(log);
  child.unref();
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => {
      if (child.pid !== undefined) resolve(child.pid);
    });
  });
};

const locateProgram = async (options: DaemonOptions, spawned: ProcessIdentity): Promise<number> => {
  const { locate = () => spawned.pid, name } = options;
  try {
    return await waitFor(`the process of ${name}`, () => locate(spawned), {
      timeoutMs: 10_000,
      intervalMs: 5,
    });
  } catch (cause) {
    const tail = await logTail(logPathOf(options.directory, name));
    throw new Error(`${name} did not start: ${tail}`, { cause });
  }
};

/** Starts a program with its output in NAME.log and its identity in NAME.pid.json. */
export const startDaemon = async (options: DaemonOptions): Promise<Daemon> => {
  mkdirSync(options.directory, { recursive: true });
  const endedAtOnce = new Error(
    `${options.name} ended at once, see ${logPathOf(options.directory, options.name)}`,
  );
  const spawned = identityOf(await spawnLogged(options));
  if (spawned === undefined) throw endedAtOnce;
  const identity = identityOf(await locateProgram(options, spawned));
  if (identity === undefined) throw endedAtOnce;
  const path = identityPath(options.directory, options.name);
  writeFileSync(`${path}.tmp`, JSON.stringify(identity));
  renameSync(`${path}.tmp`, path);
  return new RunningDaemon(options.directory, options.name, identity);
};
