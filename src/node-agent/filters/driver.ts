import type { RunCommand } from "../host/command.ts";
import type { Change, ObservedTable } from "./plan.ts";
import { parseTable, renderChanges } from "./render.ts";

/** Looks at one protocol's filter table and changes it. https://man7.org/linux/man-pages/man8/iptables-restore.8.html */
export interface FilterDriver {
  observe(signal: AbortSignal): Promise<ObservedTable>;
  /** All changes at once, or none of them. */
  apply(changes: readonly Change[], signal: AbortSignal): Promise<void>;
}

const TIMEOUT_MS = 30_000;
/** How long another program may hold the lock of the tables, in seconds; less than our own time. */
const LOCK_WAIT_SECONDS = 20;
/** Nodes of a cluster have tens of thousands of rules that are not ours. */
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

/** `program` is the common part of the names of NAME-save and NAME-restore, on whichever backend the host has. */
export const createFilterDriver = (run: RunCommand, program: "iptables" | "ip6tables"): FilterDriver => ({
  observe: async (signal) => {
    const { stdout } = await run(`${program}-save`, ["-t", "filter"], {
      signal,
      timeoutMs: TIMEOUT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
    return parseTable(stdout);
  },
  apply: async (changes, signal) => {
    await run(`${program}-restore`, ["--noflush", `--wait=${LOCK_WAIT_SECONDS}`], {
      stdin: renderChanges(changes),
      signal,
      timeoutMs: TIMEOUT_MS,
    });
  },
});
