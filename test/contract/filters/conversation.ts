import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import type { NetworkNamespace } from "../../testbed/network-namespace.ts";

/** A TCP connection to a port that echoes. */
export interface Conversation extends AsyncDisposable {
  /** Sends a line and resolves with the next line that comes back; rejects when none does in 5 s. */
  say(line: string): Promise<string>;
}

/** Connects from a namespace. */
export const openConversation = async (
  from: NetworkNamespace,
  address: string,
  port: number,
): Promise<Conversation> => {
  const enter = [`--net=/proc/${from.pid}/ns/net`, "--"];
  const child = spawn("nsenter", [...enter, "socat", "-", `TCP4:${address}:${port},connect-timeout=5`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  // It may end before it has read what it was told.
  child.stdin.on("error", () => {});
  const lines = createInterface(child.stdout);
  return {
    say: async (line) => {
      const answer = once(lines, "line", { signal: AbortSignal.timeout(5_000) });
      child.stdin.write(`${line}\n`);
      const [echo] = (await answer) as [string];
      return echo;
    },
    [Symbol.asyncDispose]: async () => {
      // A connection that was refused has ended by itself.
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
};
