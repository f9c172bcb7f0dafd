import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import type { Attempt } from "../../fakes/reach-oracle.ts";
import type { NetworkNamespace } from "../../testbed/network-namespace.ts";
import { waitFor } from "../../testbed/wait.ts";
import type { Command, Report } from "./probe-messages.ts";

/** Sends and hears in a namespace. */
export interface Prober {
  /** Sends one probe; returns the token that the receiver will report. */
  send(attempt: Attempt, address: string, from?: string): string;
  /** Whether the packet with the token has arrived here. */
  hasHeard(token: string): boolean;
  /** Whether the answer to the probe with the token has arrived here. */
  hasAnswer(token: string): boolean;
  /** Opens a TCP connection to a port that echoes. */
  open(address: string, port: number, from?: string): Promise<Stream>;
  stop(): Promise<void>;
}

export interface Stream {
  /** Whether a line comes back before `timeoutMs` have passed. Default 5000. */
  say(line: string, timeoutMs?: number): Promise<boolean>;
  /** Whether the connection has ended. */
  isClosed(): boolean;
}

const SCRIPT = fileURLToPath(new URL("probe-process.ts", import.meta.url));

let lastToken = 0;
const nextToken = (): string => {
  lastToken += 1;
  return `probe-${process.pid}-${lastToken}`;
};

export const startProber = async (namespace: NetworkNamespace): Promise<Prober> => {
  const enter = [`--net=/proc/${namespace.pid}/ns/net`, "--"];
  const child = spawn("nsenter", [...enter, process.execPath, "--no-warnings", SCRIPT], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    env: { PATH: process.env["PATH"] },
  });
  const seen = new Set<string>();
  const keyOf = (report: Report): string => {
    switch (report.kind) {
      case "ready":
        return "ready";
      case "heard":
      case "answered":
        return `${report.kind} ${report.token}`;
      case "echo":
        return `echo ${report.id} ${report.text}`;
      default:
        return `${report.kind} ${report.id}`;
    }
  };
  child.on("message", (report: Report) => seen.add(keyOf(report)));
  const command = (message: Command): void => void child.send(message);
  const until = (key: string, timeoutMs: number): Promise<true> =>
    waitFor(key, () => seen.has(key), { intervalMs: 2, timeoutMs });
  await until("ready", 20_000);
  return {
    send: (attempt, address, from) => {
      const token = nextToken();
      command({ kind: "send", attempt, address, token, from });
      return token;
    },
    hasHeard: (token) => seen.has(`heard ${token}`),
    hasAnswer: (token) => seen.has(`answered ${token}`),
    open: async (address, port, from) => {
      const id = nextToken();
      command({ kind: "open", id, address, port, from });
      await until(`opened ${id}`, 5_000);
      return {
        say: (line, timeoutMs = 5_000) => {
          command({ kind: "say", id, text: line });
          return until(`echo ${id} ${line}`, timeoutMs).then(
            (came) => came,
            () => false,
          );
        },
        isClosed: () => seen.has(`closed ${id}`),
      };
    },
    stop: async () => {
      if (child.exitCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
};
