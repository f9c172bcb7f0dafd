import { startProgram } from "./command.ts";
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
  const program = startProgram(file, args, { ...options, stdin: options.input.descriptor });
  const { stdout, stderr: complaints } = program.child;
  if (stdout === null || complaints === null)
    throw new Error(`${file} has no pipes: spawn did not do as told`);
  let stderr = "";
  complaints.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(0, MAX_STDERR_CHARACTERS);
  });
  const ended = program.ended(() => stderr);
  const consumed = options.output(stdout).catch((error: unknown) => {
    program.kill();
    throw error;
  });
  const [output, end] = await Promise.allSettled([consumed, ended]);
  // A consumer also fails when its program could not be started or was killed: the cause is told, not that.
  if (output.status === "rejected" && !program.wasCutShort()) throw output.reason;
  if (end.status === "rejected") throw end.reason;
};
