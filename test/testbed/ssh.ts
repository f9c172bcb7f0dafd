import type { TestNode } from "./node.ts";
import { run } from "./programs.ts";

export interface SshOptions {
  /** The guest's address. */
  readonly address: string;
  readonly privateKeyFile: string;
  /** Run by the guest's shell; words are joined by blanks, as ssh does. */
  readonly command: string;
  /** Default root. */
  readonly user?: string;
  /** Default 30,000. */
  readonly timeoutMs?: number;
}

/** Options of ssh for guests that come and go: their keys are not remembered, nothing is asked. */
export const SSH_ARGUMENTS = [
  "-o",
  "BatchMode=yes",
  "-o",
  "StrictHostKeyChecking=no",
  "-o",
  "UserKnownHostsFile=/dev/null",
  "-o",
  "LogLevel=ERROR",
  "-o",
  "ConnectTimeout=5",
] as const;

/** Runs a command in a guest by ssh from its node, and resolves with its standard output. */
export const ssh = (node: TestNode, options: SshOptions): Promise<string> =>
  node.run(
    [
      "ssh",
      ...SSH_ARGUMENTS,
      "-i",
      options.privateKeyFile,
      `${options.user ?? "root"}@${options.address}`,
      options.command,
    ],
    { timeoutMs: options.timeoutMs ?? 30_000 },
  );

/** Makes an ed25519 key pair: `file` and `file`.pub. Resolves with the public half in one line. */
export const makeSshKey = async (file: string): Promise<string> => {
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", file]);
  return (await run("ssh-keygen", ["-y", "-f", file])).trim();
};
