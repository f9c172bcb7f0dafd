import type { CommandOptions, RunCommand } from "../../../src/node-agent/host/command.ts";
import { createFilters, type Filters } from "../../../src/node-agent/filters/index.ts";
import type { NetworkNamespace } from "../../testbed/network-namespace.ts";
import type { Topology } from "./topology.ts";

/** Backends of iptables; the programs' names follow from them. */
export const backends = ["nft", "legacy"] as const;
export type Backend = (typeof backends)[number];

export type Argv = readonly [string, ...string[]];

/** One echo request. */
export const ping = (address: string, ...options: readonly string[]): Argv => [
  "ping",
  "-c",
  "1",
  "-W",
  "0.7",
  ...options,
  address,
];

/** Opens a TCP connection and closes it. */
export const connect = (address: string, port: number, ...options: readonly string[]): Argv => [
  "socat",
  "-u",
  "/dev/null",
  [`TCP4:${address}:${port}`, "connect-timeout=1", ...options].join(","),
];

/** Echo requests that the namespace has received, whether it could answer them or not. */
export const echoesAt = async (namespace: NetworkNamespace): Promise<number> => {
  const counters = await namespace.run(["nstat", "-asz", "IcmpInEchos"]);
  return Number(/IcmpInEchos\s+(\d+)/.exec(counters)?.[1]);
};

/** A program that was run on the node, and what it was given. */
export interface Run {
  readonly program: string;
  readonly stdin: string;
}

/** The filter of a topology's node, on one backend. */
export interface Stage {
  /** What was run since the last call. */
  takeRuns(): readonly Run[];
  /** A filter that remembers nothing, as that of an agent which has just started. */
  freshFilters(): Filters;
  /** iptables of the backend, on the node. */
  iptables(...args: readonly string[]): Promise<string>;
  /** All rules and sets that there are, without the tables' frames and the counters. */
  contents(): Promise<string>;
}

export const openStage = ({ node }: Pick<Topology, "node">, backend: Backend): Stage => {
  let runs: Run[] = [];
  const run: RunCommand = (file, args, options: CommandOptions) => {
    runs.push({ program: file, stdin: options.stdin ?? "" });
    return node.runCommand(file.replace(/^(ip6?tables)-/, `$1-${backend}-`), args, options);
  };
  return {
    takeRuns: () => {
      const taken = runs;
      runs = [];
      return taken;
    },
    freshFilters: () => createFilters({ run }),
    iptables: (...args) => node.run([`iptables-${backend}`, ...args]),
    contents: async () => {
      const texts = [];
      for (const program of ["iptables", "ip6tables"]) {
        texts.push(await node.run([`${program}-${backend}-save`]));
      }
      texts.push(await node.run(["ipset", "save", "-sorted"]));
      const isContent = (line: string): boolean => /^(-A|:\S+ -|create|add)/.test(line);
      return texts
        .flatMap((text) => text.split("\n"))
        .filter(isContent)
        .map((line) => line.replace(/ (\[\d+:\d+\]|hashsize .*)$/, ""))
        .join("\n");
    },
  };
};
