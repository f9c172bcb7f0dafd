import { join } from "node:path";

import { findDaemon, startDaemon, type Daemon, type Lifetime } from "./daemon.ts";
import type { TestNode } from "./node.ts";
import { HopelessError, waitFor } from "./wait.ts";

/**
 * A controller, a node agent or an api-server: a process that tests kill at any moment and
 * start again. Every run appends to the same log.
 */
export interface VireoProcess {
  readonly name: string;
  readonly logPath: string;
  /** Base of /metrics, /healthz and /readyz, reachable from the machine. */
  readonly metricsUrl: string;
  /** Process id of the current run, undefined when it does not run. */
  readonly pid: number | undefined;
  /** Starts it without waiting for anything; does nothing when it runs. */
  start(): Promise<void>;
  /** Resolves when /readyz says so. Rejects when the process has ended. */
  ready(timeoutMs?: number): Promise<void>;
  /** SIGKILL and SIGTERM resolve when it has ended; SIGSTOP and SIGCONT freeze and thaw it. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGKILL, then a start. */
  restart(): Promise<void>;
  /** SIGTERM, then SIGKILL after a grace period. */
  stop(): Promise<void>;
}

/** ServiceAccounts that deploy/manifests makes, which the processes run as. */
export const SERVICE_ACCOUNTS = {
  namespace: "vireo-system",
  controller: "vireo-controller",
  nodeAgent: "vireo-node-agent",
  apiServer: "vireo-api-server",
} as const;

const REPOSITORY = join(import.meta.dirname, "../..");
const METRICS_PORT = 9402;

/** "source" runs src/main.ts by type stripping, "bundle" what `npm run build` has made of it. */
export type Program = "source" | "bundle";

const command = (program: Program): readonly [string, string] => [
  process.execPath,
  join(REPOSITORY, program === "source" ? "src/main.ts" : "dist/vireo.js"),
];

interface Definition {
  readonly name: string;
  readonly directory: string;
  readonly metricsAddress: string;
  readonly launch: () => Promise<Daemon>;
}

const processOf = ({ name, directory, metricsAddress, launch }: Definition): VireoProcess => {
  const current = (): Daemon | undefined => findDaemon(directory, name);
  const metricsUrl = `http://${metricsAddress}`;
  const start = async (): Promise<void> => {
    if (current() === undefined) await launch();
  };
  const kill = async (signal: NodeJS.Signals): Promise<void> => current()?.kill(signal);
  const logPath = join(directory, `${name}.log`);
  return {
    name,
    logPath,
    metricsUrl,
    get pid() {
      return current()?.pid;
    },
    start,
    kill,
    ready: async (timeoutMs = 60_000) => {
      await waitFor(
        `${name} ready`,
        async () => {
          if (current() === undefined) throw new HopelessError(`${name} has ended, see ${logPath}`);
          const response = await fetch(`${metricsUrl}/readyz`, { signal: AbortSignal.timeout(5_000) });
          if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
          return true;
        },
        { timeoutMs },
      );
    },
    restart: async () => {
      await kill("SIGKILL");
      await start();
    },
    stop: async () => current()?.stop(),
  };
};

export interface ControllerOptions {
  readonly directory: string;
  readonly kubeconfig: string;
  readonly lifetime: Lifetime;
  readonly program: Program;
  /** Host and port for metrics. */
  readonly metricsAddress: string;
  /** Further flags of `vireo controller`. */
  readonly flags: readonly string[];
}

/** The controller, on the machine itself. Not started yet. */
export const controllerProcess = (options: ControllerOptions): VireoProcess => {
  const { directory, kubeconfig, lifetime, metricsAddress } = options;
  const name = "controller";
  return processOf({
    name,
    directory,
    metricsAddress,
    launch: () =>
      startDaemon({
        name,
        directory,
        lifetime,
        argv: [
          ...command(options.program),
          "controller",
          `--kubeconfig=${kubeconfig}`,
          `--metrics-address=${metricsAddress}`,
          ...options.flags,
        ],
      }),
  });
};

export interface ApiServerOptions extends Omit<ControllerOptions, "flags"> {
  /** Host and port that the API server hands requests on to. */
  readonly servingAddress: string;
}

/** The api-server, on the machine itself. Not started yet. */
export const apiServerProcess = (options: ApiServerOptions): VireoProcess => {
  const { directory, kubeconfig, lifetime, metricsAddress } = options;
  const name = "api-server";
  return processOf({
    name,
    directory,
    metricsAddress,
    launch: () =>
      startDaemon({
        name,
        directory,
        lifetime,
        argv: [
          ...command(options.program),
          "api-server",
          `--kubeconfig=${kubeconfig}`,
          `--metrics-address=${metricsAddress}`,
          `--serving-address=${options.servingAddress}`,
        ],
      }),
  });
};

export interface AgentOptions {
  readonly node: TestNode;
  readonly kubeconfig: string;
  readonly program: Program;
  /** Where images with a `file` source come from. */
  readonly importDirectory: string;
  /** Further flags of `vireo node-agent`. */
  readonly flags: readonly string[];
}

/** A node's agent, in the node's namespaces. Not started yet. */
export const agentProcess = (options: AgentOptions): VireoProcess => {
  const { node } = options;
  const name = "node-agent";
  const metricsAddress = `${node.address}:${METRICS_PORT}`;
  return processOf({
    name,
    directory: node.directory,
    metricsAddress,
    launch: () =>
      node.startDaemon({
        name,
        argv: [
          ...command(options.program),
          "node-agent",
          `--kubeconfig=${options.kubeconfig}`,
          `--node-name=${node.name}`,
          `--import-directory=${options.importDirectory}`,
          `--metrics-address=${metricsAddress}`,
          ...options.flags,
        ],
      }),
  });
};
