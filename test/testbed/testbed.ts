import { copyFile, link, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { exists } from "./cache.ts";
import type { Lifetime } from "./daemon.ts";
import { ensureGuestImage, type GuestImageKind } from "./guest-images/index.ts";
import { leftovers } from "./leftovers.ts";
import { startLocalCluster } from "./local-cluster.ts";
import { applyManifests, registerApiService } from "./manifests.ts";
import { startNode, type TestNode } from "./node.ts";
import { findFreePort } from "./ports.ts";
import {
  agentProcess,
  apiServerProcess,
  controllerProcess,
  SERVICE_ACCOUNTS,
  type Program,
  type VireoProcess,
} from "./processes.ts";
import type { Progress } from "./progress.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";
import type { ControlPlane } from "./types.ts";
import { startUnderlay, type Underlay } from "./underlay.ts";

export interface TestbedOptions {
  /** Number of nodes; they are called node-1, node-2, … Default 2. */
  readonly nodes?: number;
  /** Guest images that an Image can name as its file: tiny.qcow2, debian.qcow2. Default: tiny. */
  readonly images?: readonly GuestImageKind[];
  /** Where all state and logs live. Default: a temporary directory that stop() removes. */
  readonly directory?: string;
  /** "owner" (default): everything ends with this process. "detached": runs until stopped. */
  readonly lifetime?: Lifetime;
  /** Shows the nodes /dev/kvm. Default false. */
  readonly kvm?: boolean;
  /** What is run. Default "source". */
  readonly program?: Program;
  /** Starts controller, api-server and agents and awaits their readiness. Default true. */
  readonly startProcesses?: boolean;
  /** Further flags of `vireo controller`. Default: no leader election, as a restart would wait for the old lease. */
  readonly controllerFlags?: readonly string[];
  /** Further flags of each `vireo node-agent`. */
  readonly agentFlags?: (nodeName: string, underlay: Underlay) => readonly string[];
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

/** A whole Vireo on this machine: control plane, nodes, controller, api-server and agents. */
export interface Testbed {
  readonly directory: string;
  readonly controlPlane: ControlPlane;
  readonly underlay: Underlay;
  readonly nodes: readonly TestNode[];
  /** Where the agents take images with a `file` source from; a test may put files here. */
  readonly importDirectory: string;
  readonly controller: VireoProcess;
  /** Consoles and other subresources of machines, behind the control plane. */
  readonly apiServer: VireoProcess;
  /** In the order of `nodes`. */
  readonly agents: readonly VireoProcess[];
  /** Runs kubectl as the administrator. */
  readonly kubectl: ControlPlane["kubectl"];
  node(name: string): TestNode;
  /** The agent of that node. */
  agent(nodeName: string): VireoProcess;
  /** What the node holds for virtual machines, see leftovers.ts. */
  leftovers(nodeName: string): Promise<readonly string[]>;
  /**
   * Ends everything, guests included, and removes a temporary directory, unless
   * VIREO_KEEP_TESTBED is set: then its logs stay for a person to read.
   */
  stop(): Promise<void>;
}

const DEFAULT_CONTROLLER_FLAGS = ["--leader-elect=false"];

/** The parts that are there so far, in the order of their start; the end is in reverse. */
class Started {
  readonly #stops: (() => Promise<void>)[] = [];

  push(stop: () => Promise<void>): void {
    this.#stops.push(stop);
  }

  async stopAll(): Promise<void> {
    for (const stop of this.#stops.toReversed()) await stop();
  }
}

/** Puts an image into the import directory: without a copy where the file system can. */
const offerImage = async (kind: GuestImageKind, importDirectory: string): Promise<void> => {
  const image = await ensureGuestImage(kind);
  const file = join(importDirectory, `${kind}.qcow2`);
  const temporary = `${file}.tmp`;
  await rm(temporary, { force: true });
  await link(image.path, temporary).catch(() => copyFile(image.path, temporary));
  await rename(temporary, file);
  // Renaming one name of a file over another of the same file does nothing.
  await rm(temporary, { force: true });
};

const registerNode = async (controlPlane: ControlPlane, name: string): Promise<void> => {
  const node = { apiVersion: "v1", kind: "Node", metadata: { name } };
  await controlPlane.kubectl(["apply", "--server-side", "-f", "-"], { stdin: JSON.stringify(node) });
};

/** Writes a kubeconfig for one of Vireo's ServiceAccounts, bound to a node when one is named. */
const writeAccountKubeconfig = async (
  controlPlane: ControlPlane,
  account: string,
  file: string,
  node?: string,
): Promise<string> => {
  const token = await controlPlane.issueToken(account, SERVICE_ACCOUNTS.namespace, node);
  await controlPlane.kubeconfigFor({ token }, file);
  return file;
};

const startNodes = async (
  options: TestbedOptions,
  directory: string,
  underlay: Underlay,
  started: Started,
): Promise<readonly TestNode[]> => {
  const nodes: TestNode[] = [];
  for (let number = 1; number <= (options.nodes ?? 2); number += 1) {
    const name = `node-${number}`;
    options.progress?.(`${name}: namespaces and libvirtd`);
    const node = await startNode({
      name,
      number,
      directory: join(directory, name),
      underlay,
      lifetime: options.lifetime ?? "owner",
      kvm: options.kvm ?? false,
    });
    started.push(() => node.stop());
    nodes.push(node);
  }
  return nodes;
};

interface Base {
  readonly directory: string;
  readonly importDirectory: string;
  readonly controlPlane: ControlPlane;
  readonly underlay: Underlay;
  readonly nodes: readonly TestNode[];
}

/** The same port for each start over a directory: the process may be running already. */
const portFor = async (directory: string, purpose: string): Promise<number> => {
  const file = join(directory, `${purpose}.port`);
  if (await exists(file)) return Number(await readFile(file, "utf8"));
  const port = await findFreePort("127.0.0.1");
  await writeFile(file, String(port));
  return port;
};

const controllerOf = async (options: TestbedOptions, base: Base): Promise<VireoProcess> => {
  const { controlPlane, directory } = base;
  const kubeconfig = join(directory, "controller.kubeconfig");
  await writeAccountKubeconfig(controlPlane, SERVICE_ACCOUNTS.controller, kubeconfig);
  return controllerProcess({
    directory,
    kubeconfig,
    lifetime: options.lifetime ?? "owner",
    program: options.program ?? "source",
    flags: options.controllerFlags ?? DEFAULT_CONTROLLER_FLAGS,
    metricsAddress: `127.0.0.1:${await portFor(directory, "controller")}`,
  });
};

const apiServerOf = async (options: TestbedOptions, base: Base): Promise<VireoProcess> => {
  const { controlPlane, directory } = base;
  const kubeconfig = join(directory, "api-server.kubeconfig");
  const servingPort = await portFor(directory, "api-server-serving");
  await writeAccountKubeconfig(controlPlane, SERVICE_ACCOUNTS.apiServer, kubeconfig);
  await registerApiService(controlPlane, servingPort);
  return apiServerProcess({
    directory,
    kubeconfig,
    lifetime: options.lifetime ?? "owner",
    program: options.program ?? "source",
    servingAddress: `127.0.0.1:${servingPort}`,
    metricsAddress: `127.0.0.1:${await portFor(directory, "api-server")}`,
  });
};

const agentOf = async (options: TestbedOptions, base: Base, node: TestNode): Promise<VireoProcess> => {
  const kubeconfig = join(node.directory, "node-agent.kubeconfig");
  // Guests are to reach neither the other nodes nor the machine with the API server.
  const addresses = [base.underlay.hostAddress, ...base.nodes.map(({ address }) => address)];
  const infrastructure = addresses.map((address) => `--node-address=${address}`);
  await registerNode(base.controlPlane, node.name);
  await writeAccountKubeconfig(base.controlPlane, SERVICE_ACCOUNTS.nodeAgent, kubeconfig, node.name);
  return agentProcess({
    node,
    kubeconfig,
    program: options.program ?? "source",
    importDirectory: base.importDirectory,
    flags: [...infrastructure, ...(options.agentFlags?.(node.name, base.underlay) ?? [])],
  });
};

const byName = <T>(names: readonly string[], values: readonly T[], name: string): T => {
  const value = values[names.indexOf(name)];
  if (value === undefined) throw new Error(`there is no node ${name}, only ${names.join(", ")}`);
  return value;
};

const assemble = async (
  options: TestbedOptions,
  directory: string,
  started: Started,
): Promise<Omit<Testbed, "stop">> => {
  const { progress } = options;
  const lifetime = options.lifetime ?? "owner";
  const importDirectory = join(directory, "images");
  await mkdir(importDirectory, { recursive: true });
  for (const kind of options.images ?? ["tiny"]) await offerImage(kind, importDirectory);

  const underlay = await startUnderlay({ directory, lifetime });
  started.push(() => underlay.stop());
  progress?.("control plane: etcd and kube-apiserver");
  const controlPlane = await startLocalCluster({
    directory: join(directory, "control-plane"),
    durable: options.directory !== undefined,
    bindAddress: underlay.hostAddress,
    lifetime,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  started.push(() => controlPlane.stop());
  progress?.("control plane: kinds, roles and policies");
  await applyManifests(controlPlane);

  const nodes = await startNodes(options, directory, underlay, started);
  const base: Base = { directory, importDirectory, controlPlane, underlay, nodes };
  const controller = await controllerOf(options, base);
  started.push(() => controller.stop());
  const apiServer = await apiServerOf(options, base);
  started.push(() => apiServer.stop());
  const agents: VireoProcess[] = [];
  for (const node of nodes) agents.push(await agentOf(options, base, node));
  for (const agent of agents) started.push(() => agent.stop());

  const names = nodes.map((node) => node.name);
  const node = (name: string): TestNode => byName(names, nodes, name);
  return {
    directory,
    controlPlane,
    underlay,
    nodes,
    importDirectory,
    controller,
    apiServer,
    agents,
    kubectl: controlPlane.kubectl,
    node,
    agent: (name) => byName(names, agents, name),
    leftovers: (name) => leftovers(node(name)),
  };
};

const startProcesses = async (
  { controller, apiServer, agents }: Pick<Testbed, "controller" | "apiServer" | "agents">,
  progress: Progress | undefined,
): Promise<void> => {
  progress?.("controller, api-server and node agents");
  const processes = [controller, apiServer, ...agents];
  for (const process of processes) await process.start();
  for (const process of processes) await process.ready();
};

/**
 * Starts a testbed, or what is missing of the one in `directory`, and resolves
 * when its processes are ready. Needs root.
 */
export const startTestbed = async (options: TestbedOptions = {}): Promise<Testbed> => {
  const directory = options.directory ?? (await makeTemporaryDirectory("testbed"));
  const started = new Started();
  const stop = async (): Promise<void> => {
    await started.stopAll();
    if (options.directory !== undefined) return;
    const { VIREO_KEEP_TESTBED: keep = "" } = process.env;
    if (keep !== "") options.progress?.(`kept ${directory}`);
    else await rm(directory, { recursive: true, force: true });
  };
  try {
    const testbed = await assemble(options, directory, started);
    if (options.startProcesses ?? true) await startProcesses(testbed, options.progress);
    return { ...testbed, stop };
  } catch (error) {
    // What lasts is left as it is, for a person to look at and to try again.
    if (options.lifetime !== "detached") await stop();
    throw error;
  }
};
