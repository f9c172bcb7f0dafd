import { readFileSync, readdirSync, readlinkSync } from "node:fs";

import { z } from "zod";

/** One process of this machine, as /proc shows it now. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parentPid: number;
  /** Name of the program, at most 15 characters. */
  readonly command: string;
  /** Letter of the state; Z is a zombie. */
  readonly state: string;
  /** Clock ticks between boot and the process's start: with the boot's id it tells two uses of a pid apart. */
  readonly startTicks: string;
}

/** Reads /proc/PID/stat; undefined when there is no such process. */
export const readProcess = (pid: number): ProcessEntry | undefined => {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The command stands in parentheses and may contain both blanks and parentheses.
  const open = stat.indexOf("(");
  const close = stat.lastIndexOf(")");
  const fields = stat.slice(close + 2).split(" ");
  const [state = "", parentPid = "0"] = fields;
  return {
    pid,
    parentPid: Number(parentPid),
    command: stat.slice(open + 1, close),
    state,
    startTicks: fields[19] ?? "",
  };
};

/** All processes of this machine that this process may see. */
export const listProcesses = (): readonly ProcessEntry[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readProcess(Number(name)) ?? []);

export const childrenOf = (pid: number): readonly ProcessEntry[] =>
  listProcesses().filter((entry) => entry.parentPid === pid);

/** The argument vector of a process; empty for a zombie or a process that is gone. */
export const argumentsOf = (pid: number): readonly string[] => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
  } catch {
    return [];
  }
};

const namespaceOf = (pid: number): string | undefined => {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
};

/** Processes in the PID namespace that `memberPid` is in; zombies have left theirs and are not listed. */
export const processesInNamespaceOf = (memberPid: number): readonly ProcessEntry[] => {
  const namespace = namespaceOf(memberPid);
  if (namespace === undefined) return [];
  return listProcesses().filter((entry) => namespaceOf(entry.pid) === namespace);
};

/** The process that has `innerPid` in the PID namespace that `memberPid` is in. */
export const findInNamespaceOf = (memberPid: number, innerPid: number): ProcessEntry | undefined =>
  processesInNamespaceOf(memberPid).find((entry) => {
    try {
      // The pid in each namespace that sees the process, the innermost last.
      const [, pids = ""] = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${entry.pid}/status`, "utf8")) ?? [];
      return Number(pids.split(/\s+/).at(-1)) === innerPid;
    } catch {
      return false;
    }
  });

/** Names a process for as long as its record may be kept, reboots and reused pids included. */
export const processIdentitySchema = z.object({ pid: z.int(), startTicks: z.string(), bootId: z.string() });

export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

export const identityOf = (pid: number): ProcessIdentity | undefined => {
  const entry = readProcess(pid);
  return entry && { pid, startTicks: entry.startTicks, bootId: bootId() };
};

/**
 * Whether that very process still runs. A zombie does not, unless threads of it
 * are still ending: until then its sockets and locks are not free.
 */
export const isAlive = (identity: ProcessIdentity): boolean => {
  if (identity.bootId !== bootId()) return false;
  const entry = readProcess(identity.pid);
  if (entry === undefined || entry.startTicks !== identity.startTicks) return false;
  return entry.state !== "Z" || threadCount(identity.pid) > 1;
};

const threadCount = (pid: number): number => {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
};
