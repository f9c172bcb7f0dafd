import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";

import { bundlePlugin } from "../../scripts/plugin.ts";
import { DIES_WITH_PARENT } from "./daemon.ts";
import { programEnvironment } from "./programs.ts";
import { HopelessError, waitFor } from "./wait.ts";

/** How one command line ended. */
export interface PluginResult {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** A command line that runs. */
export interface PluginProcess {
  /** Standard output so far; with a terminal all that is on it. */
  readonly out: () => string;
  readonly err: () => string;
  write(text: string): void;
  /** Ends its standard input. */
  end(): void;
  /** Waits until its standard output matches. */
  untilOut(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  untilErr(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  signal(signal: NodeJS.Signals): void;
  readonly ended: Promise<PluginResult>;
}

export interface PluginOptions {
  readonly kubeconfig: string;
  readonly namespace?: string;
  /** Runs it in a terminal of its own, as script(1) makes one. Default false. */
  readonly terminal?: boolean;
}

/** kubectl's plugin as its users have it: the one file, by itself in a directory. */
export interface Plugin {
  /** Path of the file. */
  readonly file: string;
  start(args: readonly string[], options: PluginOptions): PluginProcess;
  run(args: readonly string[], options: PluginOptions): Promise<PluginResult>;
  /** Ends what still runs of it, too. */
  remove(): Promise<void>;
}

export const buildPlugin = async (): Promise<Plugin> => {
  const directory = await mkdtemp(join(tmpdir(), "vireo-plugin-"));
  const file = join(directory, "kubectl-vireo");
  await bundlePlugin(file);
  const running = new Set<PluginProcess>();
  const start: Plugin["start"] = (args, options) => {
    const process = startPlugin({ directory, file, args, options });
    running.add(process);
    void process.ended.catch(() => {}).then(() => running.delete(process));
    return process;
  };
  return {
    file,
    start,
    run: (args, options) => {
      const process = start(args, options);
      process.end();
      return process.ended;
    },
    remove: async () => {
      // A test that failed may have left some.
      for (const process of running) process.signal("SIGKILL");
      await rm(directory, { recursive: true, force: true });
    },
  };
};

interface Start {
  readonly directory: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly options: PluginOptions;
}

const quoted = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

const startPlugin = ({ directory, file, args, options }: Start): PluginProcess => {
  const words = [file, ...args];
  const [program, ...rest] = [
    ...DIES_WITH_PARENT,
    ...(options.terminal === true
      ? [
          "script",
          "--quiet",
          "--return",
          "--flush",
          "--command",
          `exec ${words.map(quoted).join(" ")}`,
          "/dev/null",
        ]
      : words),
  ];
  const { KUBECONFIG: _, ...environment } = programEnvironment({
    // The node that runs the test is the one of the program's shebang.
    PATH: [directory, dirname(process.execPath), programEnvironment()["PATH"]].join(delimiter),
    XDG_STATE_HOME: join(directory, "state"),
    SHELL: "/bin/sh",
  });
  const child = spawn(program, rest, {
    cwd: directory,
    stdio: "pipe",
    env: { ...environment, KUBECONFIG: options.kubeconfig },
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  child.stdin.on("error", () => {});
  const text = (chunks: readonly Buffer[]) => (): string => Buffer.concat(chunks).toString("utf8");
  let result: PluginResult | undefined;
  const ended = new Promise<PluginResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      result = { exitCode: code ?? -1, out: text(out)(), err: text(err)() };
      resolve(result);
    });
  });
  const until =
    (read: () => string) =>
    (pattern: RegExp, timeoutMs = 30_000) =>
      waitFor(
        `${String(pattern)} of ${args.join(" ")}`,
        () => {
          const match = pattern.exec(read());
          if (match !== null) return match;
          const seen = `${text(out)().slice(-500)}\n${text(err)().slice(-500)}`;
          throw result === undefined ? new Error(seen) : new HopelessError(`it has ended: ${seen}`);
        },
        { timeoutMs },
      );
  return {
    out: text(out),
    err: text(err),
    write: (line) => void child.stdin.write(line),
    end: () => child.stdin.end(),
    untilOut: until(text(out)),
    untilErr: until(text(err)),
    signal: (signal) => void child.kill(signal),
    ended,
  };
};
