import { spawn } from "node:child_process";
import { CommandError, type CommandFailure } from "./command.ts";
import type { ReadableFile } from "./files.ts";

export interface FilterOptions {
  /** Ends the program (SIGKILL to its process group) when aborted. */
  readonly signal: AbortSignal;
  /** Upper bound of the run time in ms; the program is killed when it passes. */
  readonly timeoutMs: number;
  /** The program's standard input. */
  readonly input: ReadableFile;
  /** Takes the program's standard output, at its own pace. When it rejects, the program is killed. */
  readonly output: (chunks: AsyncIterable<Buffer>) => Promise<void>;
}

/** Runs one program as a filter from a file to a consumer: content of any size passes in bounded memory. */
export type RunFilter = (file: string, args: readonly string[], options: FilterOptions) => Promise<void>;

const MAX_STDERR_CHARACTERS = 16 * 1024;

/**
 * Runs `file` with an argument vector, in a process group of its own, and
 * resolves when it has exited with 0 and the consumer has taken everything.
 * Rejects with what the consumer threw, or else with CommandError.
 */
export const runFilter: RunFilter = async (file, args, options) => {
  if (options.signal.aborted) throw new CommandError("aborted", file, args, { cause: options.signal.reason });
  const child = spawn(file, [...args], {
    stdio: [options.input.descriptor, "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    detached: true,
  });
  const { stdout, stderr: complaints } = child;
  if (stdout === null || complaints === null)
    throw new Error(`${file} has no pipes: spawn did not do as told`);
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
  options.signal.addEventListener("abort", onAbort, { once: true });
  const timer = setTimeout(() => kill("timeout"), options.timeoutMs);

  let stderr = "";
  complaints.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(0, MAX_STDERR_CHARACTERS);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", (cause: NodeJS.ErrnoException) =>
      reject(new CommandError(cause.code === "ENOENT" ? "not-found" : "signal", file, args, { cause })),
    );
    child.on("close", (code, signal) => {
      if (failure === undefined && code === 0) return resolve();
      const how = failure ?? (signal === null ? "exit" : "signal");
      reject(new CommandError(how, file, args, { exitCode: code ?? undefined, stderr }));
    });
  });
  const consumed = options.output(stdout).catch((error: unknown) => {
    kill();
    throw error;
  });
  try {
    const [output, program] = await Promise.allSettled([consumed, ended]);
    // A consumer also fails when its program could not be started or was killed: the cause is told, not that.
    const cutShort = failure !== undefined || child.pid === undefined;
    if (output.status === "rejected" && !cutShort) throw output.reason;
    if (program.status === "rejected") throw program.reason;
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener("abort", onAbort);
  }
};
