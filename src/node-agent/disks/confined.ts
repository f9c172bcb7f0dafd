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

/** What `prlimit`, `unshare` and `setpriv` exit with when the program behind them does not exist. */
export const PROGRAM_MISSING_EXIT_CODE = 127;
