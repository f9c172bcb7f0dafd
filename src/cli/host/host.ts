import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { constants as osConstants, homedir } from "node:os";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";
import { CommandFailedError } from "../errors.ts";
import type { Files, Host, Programs, RunOptions } from "./index.ts";

type Environment = Host["environment"];

/** The machine that this process runs on. */
export const createHost = (process: NodeJS.Process): Host => ({
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  environment: process.env,
  platform: process.platform,
  self: [process.execPath, ...process.execArgv, process.argv[1] ?? "kubectl-vireo"],
  files: createFiles(process.stdin, process.env),
  programs: createPrograms(process.env),
});

const createFiles = (stdin: Readable, environment: Environment): Files => ({
  read: (path) => (path === "-" ? readStream(stdin) : explain("read", path, readFile(path, "utf8"))),
  write: (path, content) => explain("write", path, writeFile(path, content)),
  makeDirectory: async (path) => {
    await explain("make", path, mkdir(path));
  },
  stateDirectory: async () => {
    const path = stateDirectoryOf(environment);
    await explain("make", path, mkdir(path, { recursive: true, mode: 0o700 }));
    return path;
  },
});

/** https://specifications.freedesktop.org/basedir/latest/ */
const stateDirectoryOf = ({ XDG_STATE_HOME: state, HOME: home }: Environment): string =>
  join(
    state !== undefined && state !== "" ? state : join(home ?? homedir(), ".local/state"),
    "kubectl-vireo",
  );

const readStream = async (stream: Readable): Promise<string> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString("utf8");
};

const explain = async <T>(verb: string, path: string, action: Promise<T>): Promise<T> => {
  try {
    return await action;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailedError(`cannot ${verb} ${path}: ${why}`, { cause });
  }
};

const createPrograms = (environment: Environment): Programs => ({
  find: async (names) => {
    for (const name of names) {
      const path = await findInPath(name, environment);
      if (path !== undefined) return path;
    }
    return undefined;
  },
  run: runHere,
  start: (file, args) => {
    const child = spawn(file, args, { stdio: "ignore", detached: true });
    child.on("error", () => {});
    child.unref();
  },
});

const findInPath = async (name: string, { PATH: path = "" }: Environment): Promise<string | undefined> => {
  const places = name.includes("/")
    ? [name]
    : path.split(delimiter).map((directory) => join(directory, name));
  for (const place of places) {
    const isThere = await access(place, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return place;
  }
  return undefined;
};

/**
 * The program has the terminal: Ctrl-C reaches it as it reaches us, and it
 * decides what that means. Other ends of ours are handed on to it.
 */
const runHere = (file: string, args: readonly string[], { signal }: RunOptions): Promise<number> =>
  new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: "inherit" });
    const onAbort = (): void => void child.kill("SIGTERM");
    signal.addEventListener("abort", onAbort, { once: true });
    child.once("error", (cause) => {
      signal.removeEventListener("abort", onAbort);
      reject(new CommandFailedError(`cannot start ${file}: ${cause.message}`, { cause }));
    });
    child.once("close", (code, killedBy) => {
      signal.removeEventListener("abort", onAbort);
      resolve(code ?? 128 + (killedBy === null ? 0 : osConstants.signals[killedBy]));
    });
  });
