import { spawnSync } from "node:child_process";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { findDaemon } from "../daemon.ts";
import { kubectlRunner } from "../kubectl.ts";
import { printProgress } from "../progress.ts";
import { programEnvironment } from "../programs.ts";
import { SSH_ARGUMENTS } from "../ssh.ts";
import { readMachine, readPrivateKey, type Machine } from "./machine.ts";
import { demoDirectory } from "./state.ts";

export interface GuestOptions {
  /** Name of the VirtualMachine. */
  readonly name: string;
  readonly namespace: string;
}

export interface LoginOptions extends GuestOptions {
  /** Default: what the image's own user is called. */
  readonly user: string | undefined;
  /** Run in the guest instead of a shell. */
  readonly command: readonly string[];
}

const kubectl = kubectlRunner({
  file: "kubectl",
  kubeconfig: join(demoDirectory(), "control-plane/admin.kubeconfig"),
  cacheDirectory: join(demoDirectory(), "control-plane/kubectl-cache"),
  signal: undefined,
});

/** nsenter's arguments for the node that the machine is on. */
const enterNode = (machine: Machine, ...namespaces: readonly string[]): readonly string[] => {
  const nodeName = machine.status?.nodeName;
  if (nodeName === undefined) throw new Error(`vm/${machine.metadata.name} is on no node yet`);
  const node = findDaemon(join(demoDirectory(), nodeName), "node");
  if (node === undefined) throw new Error(`${nodeName} does not run; make demo starts it`);
  return ["--target", String(node.pid), ...namespaces, "--"];
};

/** Runs a program on this terminal and passes on how it ended. */
const onTerminal = (args: readonly string[]): void => {
  const { status } = spawnSync("nsenter", args, { stdio: "inherit", env: programEnvironment() });
  process.exitCode = status ?? 1;
};

const identityArguments = async (machine: Machine): Promise<readonly string[]> => {
  const privateKey = await readPrivateKey(kubectl, machine);
  // Without a generated key, ssh offers the user's own ones.
  if (privateKey === undefined) return [];
  const directory = join(demoDirectory(), "ssh");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, machine.metadata.uid);
  await writeFile(file, privateKey, { mode: 0o600 });
  await chmod(file, 0o600);
  return ["-i", file];
};

/** Logs in to a guest from its node. */
export const ssh = async (options: LoginOptions): Promise<void> => {
  const machine = await readMachine(kubectl, options.name, options.namespace);
  const address = machine.status?.allocation?.interfaces[0]?.address;
  if (address === undefined) throw new Error(`vm/${options.name} has no address yet`);
  const user = options.user ?? (machine.spec.image.startsWith("debian") ? "debian" : "root");
  onTerminal([
    ...enterNode(machine, "--net"),
    "ssh",
    ...SSH_ARGUMENTS,
    // A guest that has just been started takes seconds to listen.
    "-o",
    "ConnectionAttempts=60",
    ...(await identityArguments(machine)),
    `${user}@${address}`,
    ...options.command,
  ]);
};

/** Connects the terminal to a guest's serial console. */
export const serialConsole = async (options: GuestOptions): Promise<void> => {
  const machine = await readMachine(kubectl, options.name, options.namespace);
  const { uid } = machine.metadata;
  const log = join(demoDirectory(), machine.status?.nodeName ?? "", "lib-vireo/consoles", `${uid}.log`);
  printProgress(`what it has said so far is in ${log}`);
  onTerminal([
    ...enterNode(machine, "--mount", "--net", "--pid"),
    "virsh",
    "--connect",
    "qemu:///system",
    "console",
    `vireo-${uid}`,
  ]);
};
