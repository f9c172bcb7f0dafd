import { join } from "node:path";
import { hypervisors, SYSTEM_NAMESPACE } from "../api/hypervisor.ts";
import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import {
  createEventRecorder,
  createHealthServer,
  createHeartbeat,
  createKubeClient,
  createMetrics,
  createStore,
  type EventRecorder,
  type KubeClient,
  loadKubeConfig,
  type Logger,
  type Metrics,
  namespaces,
  runTogether,
  sleep,
  type Store,
  systemClock,
  whenAborted,
} from "../kube/index.ts";
import { openLibvirt } from "../libvirt/index.ts";
import { createAgent } from "./agent.ts";
import { createClusterStores } from "./cluster-stores.ts";
import { floatingTargets } from "./desired.ts";
import { checkClusterIdentity } from "./cluster-identity.ts";
import type { NodeAgentConfig } from "./config.ts";
import { domainEventKinds } from "./domains/index.ts";
import { createEnforcedGroups } from "./enforced-groups.ts";
import { createFloatingAgent } from "./floating-agent.ts";
import { createFloatingMetrics } from "./floating-metrics.ts";
import { createFloatingObjects, type FloatingObjects } from "./floating-objects.ts";
import { type Host, openHost } from "./host-rooms.ts";
import { createHypervisorReporter } from "./hypervisor-reporter.ts";
import {
  type AgentMetrics,
  createAgentMetrics,
  createNetworkMetrics,
  registerDropMetrics,
} from "./metrics.ts";
import { createNodeNetwork } from "./node-network.ts";
import { createMachineView, type MachineView } from "./report.ts";

const SWEEP_MS = 60_000;
const CONSOLE_TRIM_MS = 5_000;
const now = (): Date => new Date();

/** Machines that are worked on at once. Starting a guest is mostly waiting, for libvirt and for QEMU. */
const WORKERS = 8;

interface Parts {
  readonly config: NodeAgentConfig;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly agentMetrics: AgentMetrics;
  readonly client: KubeClient;
  readonly host: Host;
  readonly events: EventRecorder;
  /** The machines of this node. */
  readonly store: Store<VirtualMachine>;
  readonly machines: MachineView;
  /** FloatingIPs that concern this node. */
  readonly floatingObjects: FloatingObjects;
}

/**
 * The node agent: wires the loop to the API server, to libvirt and to the rooms,
 * and runs until the signal is aborted. Guests go on when it ends.
 */
export const runNodeAgent = async (
  { config, logger }: { readonly config: NodeAgentConfig; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> => {
  const metrics = createMetrics({ process: true });
  const kubeConfig = loadKubeConfig(config);
  const client = createKubeClient({ kubeConfig, metrics, userAgent: "vireo-node-agent" });
  const libvirt = openLibvirt({ socketPath: config.libvirtSocket, events: domainEventKinds });
  libvirt.onDisconnected((err) => logger.warn({ err }, "libvirtd cannot be reached; guests are not touched"));
  const agentMetrics = createAgentMetrics(metrics);
  const host = await openHost({ config, libvirt, logger, metrics: agentMetrics, signal });
  const own = followOwn({ config, logger, metrics, client }, signal);
  const parts: Parts = { config, logger, metrics, agentMetrics, client, host, ...own };
  const floating = floatingAgentOf(parts);
  try {
    await runTogether(
      {
        // An address is kept by whoever renews it in time: nothing may come before.
        floating: (taskSignal) => floating.run(taskSignal),
        node: async (taskSignal) => {
          await prepareNode(parts, taskSignal);
          await runTogether(tasksOf(parts, taskSignal), taskSignal);
        },
      },
      signal,
    );
  } finally {
    await Promise.all([host.close(), libvirt.close(), client.close()]);
  }
};

/** Before anything is changed on the host: is it ours to change? */
const prepareNode = async ({ config, host, client, logger }: Parts, signal: AbortSignal): Promise<void> => {
  const file = join(config.stateDirectory, "cluster");
  const clusterUid = await readClusterUid(client, logger, signal);
  const remembered = (await host.files.readText(file, { maxBytes: 100 }))?.trim();
  const { disks, links, cloudInit } = host.rooms;
  const found = await Promise.all([disks, links, cloudInit].map((room) => room.list({ signal })));
  const holdsGuests = found.some((uids) => uids.length > 0);
  if (checkClusterIdentity({ clusterUid, remembered, holdsGuests, file }) === "adopt") {
    await host.files.writeAtomically(file, `${clusterUid}\n`, { mode: 0o644 });
  }
  await links.setUp({ signal });
};

const RETRY_MS = 1_000;

const readClusterUid = async (client: KubeClient, logger: Logger, signal: AbortSignal): Promise<string> => {
  for (;;) {
    try {
      const namespace = await client.get(namespaces, { name: "kube-system" }, { signal });
      if (namespace !== undefined) return namespace.metadata.uid;
    } catch (err) {
      if (signal.aborted) throw err;
      logger.warn({ err }, "cannot read which cluster this is; trying again");
    }
    await sleep(systemClock, RETRY_MS, signal);
  }
};

/** What the loops share: the machines of this node, and a voice. */
const followOwn = (
  { config, logger, metrics, client }: Pick<Parts, "config" | "logger" | "metrics" | "client">,
  signal: AbortSignal,
): Pick<Parts, "events" | "store" | "machines" | "floatingObjects"> => {
  const { nodeName } = config;
  const events = createEventRecorder({
    client,
    component: "vireo.dev/node-agent",
    instance: nodeName,
    logger,
    metrics,
    signal,
  });
  const store = createStore({
    client,
    resource: virtualMachines,
    fieldSelector: `status.nodeName=${nodeName}`,
    indexes: { uid: ({ metadata }) => [metadata.uid] },
    logger,
    metrics,
  });
  const floatingObjects = createFloatingObjects({ nodeName, client, logger, metrics });
  return { events, store, machines: createMachineView(store, client), floatingObjects };
};

const floatingAgentOf = ({
  config,
  client,
  logger,
  metrics,
  host,
  events,
  store,
  machines,
  floatingObjects,
}: Parts) => {
  const { nodeName } = config;
  const floating = createFloatingAgent({
    nodeName,
    client,
    objects: floatingObjects,
    floating: host.floating,
    targets: () => (store.synced ? floatingTargets(machines.list()) : undefined),
    events,
    logger,
    metrics: createFloatingMetrics(metrics),
  });
  store.onChange(() => floating.refresh());
  return floating;
};

const tasksOf = (
  { config, logger, metrics, agentMetrics, client, host, events, store, machines, floatingObjects }: Parts,
  signal: AbortSignal,
) => {
  const { nodeName } = config;
  const ownHypervisor = createStore({
    client,
    resource: hypervisors,
    fieldSelector: `metadata.name=${nodeName}`,
    logger,
    metrics,
  });
  const heartbeat = createHeartbeat({
    client,
    namespace: SYSTEM_NAMESPACE,
    name: nodeName,
    identity: nodeName,
    logger,
  });
  const reporter = createHypervisorReporter({
    nodeName,
    labels: config.nodeLabels,
    store: ownHypervisor,
    client,
    facts: async (taskSignal) => ({
      ...(await host.facts(taskSignal)),
      securityGroups: enforced.list(),
    }),
    logger,
    metrics,
    now,
  });
  agentMetrics.follow(() => machines.list());
  const cluster = createClusterStores({ client, logger, metrics });
  const enforced = createEnforcedGroups(() => ownHypervisor.get({ name: nodeName }), now);
  const network = createNodeNetwork(
    {
      nodeName,
      machines,
      stores: cluster,
      links: host.rooms.links,
      filters: host.filters,
      enforced,
      vxlanPort: config.vxlanPort,
      tunnelAddress: () => host.tunnelAddress(),
      nodeAddresses: () => host.nodeAddresses(),
      floatingObjects,
      logger,
      metrics,
      networkMetrics: createNetworkMetrics(metrics),
    },
    signal,
  );
  const agent = createAgent({
    nodeName,
    store,
    machines,
    rooms: host.rooms,
    network,
    events,
    logger,
    metrics,
    agentMetrics,
    now,
    sweepMs: SWEEP_MS,
    workers: WORKERS,
  });

  registerDropMetrics(metrics, () => host.filters.observeDrops({ signal }));

  return {
    machines: (taskSignal: AbortSignal) => store.run(taskSignal),
    hypervisor: (taskSignal: AbortSignal) => ownHypervisor.run(taskSignal),
    networks: (taskSignal: AbortSignal) => cluster.networks.run(taskSignal),
    "security-groups": (taskSignal: AbortSignal) => cluster.securityGroups.run(taskSignal),
    "address-slices": (taskSignal: AbortSignal) => cluster.addressSlices.run(taskSignal),
    "node-network": (taskSignal: AbortSignal) => network.run(taskSignal),
    heartbeat: (taskSignal: AbortSignal) => heartbeat.run(taskSignal),
    report: async (taskSignal: AbortSignal) => {
      const refresh = (): void => reporter.refresh();
      const stops = [host.onFactsChange(refresh), enforced.onChange(refresh)];
      await reporter.run(taskSignal).finally(() => stops.forEach((stop) => stop()));
    },
    agent: (taskSignal: AbortSignal) => agent.run(taskSignal),
    acceleration: async (taskSignal: AbortSignal) => {
      await host.rooms.acceleration();
      await whenAborted(taskSignal);
    },
    "console-logs": (taskSignal: AbortSignal) => trimConsoleLogs(host, logger, taskSignal),
    health: async (taskSignal: AbortSignal) => {
      const health = createHealthServer({ ...config.metrics, metrics, logger });
      health.addReadinessCheck("machines", () => (store.synced ? undefined : "not in sync yet"));
      const { port, closed } = await health.listen(taskSignal);
      logger.info({ port }, "serving /metrics, /healthz and /readyz");
      await closed;
    },
  };
};

const trimConsoleLogs = async (host: Host, logger: Logger, signal: AbortSignal): Promise<void> => {
  while (!signal.aborted) {
    await sleep(systemClock, CONSOLE_TRIM_MS, signal);
    await host.rooms.domains.trimConsoleLogs({ signal }).catch((err: unknown) => {
      if (!signal.aborted) logger.warn({ err }, "cannot trim the console logs");
    });
  }
};
