import type { CommandError } from "../host/command.ts";
import { FetchFailed } from "./failure.ts";

/** What a program that reads a stranger's file may use up. */
export interface Confinement {
  readonly addressSpaceBytes: number;
  readonly cpuSeconds: number;
}

/** nobody: owns no file and runs nothing else, on every Linux distribution. */
const UNPRIVILEGED_ID = "65534";

/**
 * The argument vector that runs a program as nobody, without capabilities,
 * without a network (no interface in its namespace is up), without writing
 * files, and with bounded memory and processor time. Each program replaces
 * itself by the next, so that there is one process to kill.
 *
 * Files must be readable by others, and the directories above them passable.
 */
export const confined = (program: readonly string[], bounds: Confinement): readonly [string, string[]] => [
  "prlimit",
  [
    `--as=${bounds.addressSpaceBytes}`,
    `--cpu=${bounds.cpuSeconds}`,
    "--fsize=0",
    "--core=0",
    "--nofile=64",
    "--",
    "unshare",
    "--net",
    "--ipc",
    "--",
    "setpriv",
    `--reuid=${UNPRIVILEGED_ID}`,
    `--regid=${UNPRIVILEGED_ID}`,
    "--clear-groups",
    "--no-new-privs",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--bounding-set=-all",
    "--",
    ...program,
  ],
];

/** What the programs of the chain exit with when the next one does not exist. */
const PROGRAM_MISSING_EXIT_CODE = 127;
/** How they begin what they have to say of themselves. */
const CONFINEMENT_COMPLAINT = /^(prlimit|unshare|setpriv): /m;

/**
 * Why a confined program failed, if that says nothing of the file that it was
 * to read: it must not be held against the image. Undefined when it may be.
 */
export const mishap = (error: CommandError): FetchFailed | undefined => {
  const because = (what: string): FetchFailed =>
    new FetchFailed("FetchFailed", `${what}: ${error.message}`, { cause: error });
  if (error.failure === "not-found" || error.exitCode === PROGRAM_MISSING_EXIT_CODE)
    return because("a program is missing on the node");
  if (CONFINEMENT_COMPLAINT.test(error.stderr)) return because("a program cannot be confined on this node");
  if (error.failure === "timeout" || error.failure === "aborted") return because("the node took too long");
  return undefined;
};
