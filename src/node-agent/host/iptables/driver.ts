import type { RunCommand } from "../command.ts";
import { parseCounters, parseTables, renderChanges } from "./render.ts";
import type { Changes, ObservedTables, RuleCounter } from "./types.ts";

/** Looks at one protocol's tables and changes them. https://man7.org/linux/man-pages/man8/iptables-restore.8.html */
export interface IptablesDriver {
  /** Does not make the tables that nobody uses. */
  observe(signal: AbortSignal): Promise<ObservedTables>;
  counters(signal: AbortSignal): Promise<readonly RuleCounter[]>;
  /** All changes of a table at once, or none of them. */
  apply(changes: Changes, signal: AbortSignal): Promise<void>;
}

/** The common part of the names of NAME-save and NAME-restore, on whichever backend the host has. */
export type IptablesProgram = "iptables" | "ip6tables";

const TIMEOUT_MS = 30_000;
/** How long another program may hold the lock of the tables, in seconds; less than our own time. */
const LOCK_WAIT_SECONDS = 20;
/** Nodes of a cluster have tens of thousands of rules that are not ours. */
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

export const createIptablesDriver = (run: RunCommand, program: IptablesProgram): IptablesDriver => {
  const save = async (args: readonly string[], signal: AbortSignal): Promise<string> => {
    const { stdout } = await run(`${program}-save`, args, {
      signal,
      timeoutMs: TIMEOUT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
    return stdout;
  };
  return {
    observe: async (signal) => parseTables(await save([], signal)),
    counters: async (signal) => parseCounters(await save(["--counters"], signal)),
    apply: async (changes, signal) => {
      await run(`${program}-restore`, ["--noflush", `--wait=${LOCK_WAIT_SECONDS}`], {
        stdin: renderChanges(changes),
        signal,
        timeoutMs: TIMEOUT_MS,
      });
    },
  };
};
