import { runCommand } from "../../src/node-agent/host/command.ts";

/** How one program of the testbed is run; every field has a default. */
export interface ProgramOptions {
  /** Text for the program's standard input. */
  readonly stdin?: string;
  /** Upper bound of the run time in ms. Default 60,000. */
  readonly timeoutMs?: number;
  /** Variables added to this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Upper bound of the captured output in bytes. Default 64 MiB: a test may read a whole log. */
  readonly maxOutputBytes?: number;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Proxies lead off the machine, and all that a testbed talks to is on it. */
const PROXY_VARIABLES = /^(https?|all)_proxy$/i;

/** The environment of a program of the testbed: ours, without proxies and translated messages. */
export const programEnvironment = (
  added: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> => {
  const inherited = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined || PROXY_VARIABLES.test(name) ? [] : [[name, value] as const],
  );
  const { PATH = "" } = process.env;
  // A user's PATH often lacks the administrator's programs (ip, libvirtd, mke2fs).
  const path = [...new Set([...PATH.split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"])].join(":");
  return { ...Object.fromEntries(inherited), LC_ALL: "C.UTF-8", PATH: path, ...added };
};

/** Runs a program to its end and resolves with its standard output; rejects with what it said otherwise. */
export const run = async (
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<string> => {
  const { stdout } = await runCommand(file, args, {
    signal: options.signal ?? new AbortController().signal,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxOutputBytes: options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES,
    env: programEnvironment(options.env),
    ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
  });
  return stdout;
};
