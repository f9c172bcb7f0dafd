import { readlinkSync } from "node:fs";

import { runCommand, type RunCommand } from "../../src/node-agent/host/command.ts";
import { startDaemon, type Daemon } from "./daemon.ts";
import { programEnvironment, run } from "./programs.ts";
import { waitFor } from "./wait.ts";

/** A network namespace, for tests of what sends and filters packets. It is gone when this process is. */
export interface NetworkNamespace {
  /** A process in the namespace. */
  readonly pid: number;
  /** Programs in the namespace, as the rooms of the node agent run them. */
  readonly runCommand: RunCommand;
  /** Runs a program in the namespace and resolves with its standard output. */
  run(argv: readonly [string, ...string[]]): Promise<string>;
  /** Whether a program in the namespace ends with exit code 0. */
  succeeds(argv: readonly [string, ...string[]]): Promise<boolean>;
  /** Starts a program in the namespace that runs until the namespace is stopped. */
  startDaemon(name: string, argv: readonly string[]): Promise<Daemon>;
  stop(): Promise<void>;
}

export interface NetworkNamespaceOptions {
  /** Unique in the directory. */
  readonly name: string;
  /** Where logs and identities of processes are written. */
  readonly directory: string;
}

const namespaceOf = (pid: number | "self"): string => readlinkSync(`/proc/${pid}/ns/net`);

/** Makes an empty namespace; its loopback is up. */
export const startNetworkNamespace = async (options: NetworkNamespaceOptions): Promise<NetworkNamespace> => {
  const { name, directory } = options;
  const holder = await startDaemon({
    name: `netns-${name}`,
    directory,
    lifetime: "owner",
    argv: ["unshare", "--net", "sleep", "infinity"],
  });
  // Until unshare has done its work the process is still in our own namespace.
  await waitFor(`network namespace ${name}`, () => namespaceOf(holder.pid) !== namespaceOf("self"), {
    intervalMs: 2,
  });
  const enter = ["nsenter", `--net=/proc/${holder.pid}/ns/net`, "--"] as const;
  const daemons: Daemon[] = [];
  const inside: NetworkNamespace = {
    pid: holder.pid,
    runCommand: (file, args, settings) =>
      runCommand("nsenter", [...enter.slice(1), file, ...args], { env: programEnvironment(), ...settings }),
    run: (argv) => run("nsenter", [...enter.slice(1), ...argv]),
    succeeds: (argv) =>
      inside.run(argv).then(
        () => true,
        () => false,
      ),
    startDaemon: async (daemonName, argv) => {
      const daemon = await startDaemon({
        name: `${name}-${daemonName}`,
        directory,
        lifetime: "owner",
        argv: [...enter, ...argv],
      });
      daemons.push(daemon);
      return daemon;
    },
    stop: async () => {
      await Promise.all(daemons.map((daemon) => daemon.stop(0)));
      await holder.stop(0);
    },
  };
  await inside.run(["ip", "link", "set", "lo", "up"]);
  return inside;
};

/** Joins two namespaces by a pair of devices. */
export const joinNamespaces = async (
  left: { readonly namespace: NetworkNamespace; readonly device: string },
  right: { readonly namespace: NetworkNamespace; readonly device: string },
): Promise<void> => {
  const ends = [left, right].map(
    ({ namespace, device }) => [device, "netns", String(namespace.pid)] as const,
  );
  const [near = [], far = []] = ends;
  await run("ip", ["link", "add", ...near, "type", "veth", "peer", "name", ...far]);
  for (const { namespace, device } of [left, right]) {
    await namespace.run(["ip", "link", "set", device, "up"]);
  }
};
