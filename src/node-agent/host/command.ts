import { type ChildProcess, spawn } from "node:child_process";

/** What a finished program left behind. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Ends the program (SIGKILL to its process group) when aborted. */
  readonly signal: AbortSignal;
  /** Upper bound of the run time in ms; the program is killed when it passes. */
  readonly timeoutMs: number;
  /** Text for the program's standard input; without it standard input is /dev/null. */
  readonly stdin?: string;
  /** Upper bound of captured stdout and of captured stderr, in bytes each. Default 4 MiB. */
  readonly maxOutputBytes?: number;
  /** Called with pieces of standard output as they come, for programs that tell how far they are. */
  readonly onStdout?: (text: string) => void;
  /** The whole environment of the program. Default: PATH of this process and LC_ALL=C. */
  readonly env?: Readonly<Record<string, string>>;
}

export type CommandFailure = "not-found" | "exit" | "signal" | "timeout" | "aborted" | "output-limit";

/** A program that did not end with exit code 0, with all that is needed to explain it. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly failure: CommandFailure;
  readonly file: string;
  readonly args: readonly string[];
  readonly exitCode: number | undefined;
  readonly stderr: string;

  constructor(
    failure: CommandFailure,
    file: string,
    args: readonly string[],
    details: { exitCode?: number | undefined; stderr?: string; cause?: unknown },
  ) {
    const stderr = (details.stderr ?? "").trim();
    const how = failure === "exit" ? `exit code ${details.exitCode}` : failure;
    super(`${file} failed (${how})${stderr === "" ? "" : `: ${stderr.slice(0, 2000)}`}`, {
      cause: details.cause,
    });
    this.failure = failure;
    this.file = file;
    this.args = args;
    this.exitCode = details.exitCode;
    this.stderr = stderr;
  }
}

/** Runs one program to its end. The door through which the rooms start anything on the host. */
export type RunCommand = (
  file: string,
  args: readonly string[],
  options: CommandOptions,
) => Promise<CommandResult>;

const DEFAULT_MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

export interface ProgramOptions extends Pick<CommandOptions, "signal" | "timeoutMs" | "env"> {
  /** Standard input: none, a pipe, or an open file. */
  readonly stdin: "ignore" | "pipe" | number;
}

/** A program that was started; standard output and error are pipes. */
export interface Program {
  readonly child: ChildProcess;
  /** Ends the program and its children. The first reason given is that of its CommandError. */
  readonly kill: (why?: CommandFailure) => void;
  /** Whether it was killed for a reason, or could not be started at all. */
  readonly wasCutShort: () => boolean;
  /**
   * Resolves when it has exited with 0 and closed its pipes; otherwise rejects
   * with CommandError, which tells what `stderr` returns then. Call it at once.
   */
  readonly ended: (stderr: () => string) => Promise<void>;
}

/**
 * Starts `file` with an argument vector: no shell sees the arguments.
 *
 * The program gets a process group of its own, so that a timeout or an abort
 * takes its children with it. Throws CommandError when aborted already.
 */
export const startProgram = (file: string, args: readonly string[], options: ProgramOptions): Program => {
  const { signal, timeoutMs } = options;
  if (signal.aborted) throw new CommandError("aborted", file, args, { cause: signal.reason });
  const child = spawn(file, [...args], {
    stdio: [options.stdin, "pipe", "pipe"],
    env: options.env ?? { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    detached: true,
  });
  let failure: CommandFailure | undefined;
  const kill = (why?: CommandFailure): void => {
    failure ??= why;
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // The group is already gone.
    }
  };
  const onAbort = (): void => kill("aborted");
  signal.addEventListener("abort", onAbort, { once: true });
  const timer = setTimeout(() => kill("timeout"), timeoutMs);
  const ended = (stderr: () => string): Promise<void> =>
    new Promise<void>((resolve, reject) => {
      child.on("error", (cause: NodeJS.ErrnoException) =>
        reject(new CommandError(cause.code === "ENOENT" ? "not-found" : "signal", file, args, { cause })),
      );
      child.on("close", (code, endedBy) => {
        if (failure === undefined && code === 0) return resolve();
        const how = failure ?? (endedBy === null ? "exit" : "signal");
        reject(new CommandError(how, file, args, { exitCode: code ?? undefined, stderr: stderr() }));
      });
    }).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    });
  return { child, kill, wasCutShort: () => failure !== undefined || child.pid === undefined, ended };
};

/** Runs `file` as startProgram does, and rejects with CommandError unless it exits with 0. */
export const runCommand: RunCommand = async (file, args, options) => {
  const { child, kill, ended } = startProgram(file, args, {
    ...options,
    stdin: options.stdin === undefined ? "ignore" : "pipe",
  });
  const limit = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES;
  const capture = (stream: NodeJS.ReadableStream | null): (() => string) => {
    const chunks: Buffer[] = [];
    let size = 0;
    stream?.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) kill("output-limit");
      else chunks.push(chunk);
    });
    return () => Buffer.concat(chunks).toString("utf8");
  };
  const stdout = capture(child.stdout);
  child.stdout?.on("data", (chunk: Buffer) => options.onStdout?.(chunk.toString("latin1")));
  const stderr = capture(child.stderr);
  // A program may end without reading its input; its exit code tells the story, not EPIPE.
  child.stdin?.on("error", () => {});
  child.stdin?.end(options.stdin);
  await ended(stderr);
  return { stdout: stdout(), stderr: stderr() };
};
