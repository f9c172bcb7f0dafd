import { join } from "node:path";
import { type Hypervisor, hypervisors } from "../api/hypervisor.ts";
import {
  createEventRecorder,
  createHealthServer,
  createKubeClient,
  createMetrics,
  createRawKubeClient,
  createStore,
  type EventRecorder,
  type KubeClient,
  loadKubeConfig,
  type Logger,
  type Metrics,
  namespaces,
  runTogether,
  type RawKubeClient,
  sleep,
  type Store,
  systemClock,
  whenAborted,
} from "../kube/index.ts";
import { openLibvirt } from "../libvirt/index.ts";
import { createAgent } from "./agent.ts";
import { type AgentServer, createAgentServer } from "./agent-server.ts";
import { createClusterStores } from "./cluster-stores.ts";
import { floatingTargets } from "./desired.ts";
import { checkClusterIdentity } from "./cluster-identity.ts";
import type { NodeAgentConfig } from "./config.ts";
import { createConsoles } from "./consoles/index.ts";
import { domainEventKinds } from "./domains/index.ts";
import { createEnforcedGroups } from "./reconcilers/network/enforced-groups.ts";
import { createFloatingAgent } from "./reconcilers/floating/floating-agent.ts";
import { createFloatingMetrics } from "./reconcilers/floating/floating-metrics.ts";
import { createFloatingObjects, type FloatingObjects } from "./reconcilers/floating/floating-objects.ts";
import { createOpenGuestPort } from "./reconcilers/machine/guest-port.ts";
import { createGuestServices } from "./reconcilers/machine/guest-services.ts";
import { startProgram } from "./host/command.ts";
import { type Host, openHost } from "./host-rooms.ts";
import { createHypervisorReporter } from "./reconcilers/hypervisor/hypervisor-reporter.ts";
import { imageRoutes } from "./reconcilers/storage/image-routes.ts";
import { type Liveness, openLiveness } from "./reconcilers/hypervisor/liveness.ts";
import { createLifecycleMetrics } from "./lifecycle-metrics.ts";
import {
  type AgentMetrics,
  createAgentMetrics,
  createNetworkMetrics,
  registerDropMetrics,
} from "./metrics.ts";
import { createArrivals, type Arrivals } from "./reconcilers/migration/arrivals.ts";
import { createMigrationAgent } from "./reconcilers/migration/migration-agent.ts";
import { createMigrationHolds } from "./reconcilers/migration/migration-holds.ts";
import { createMigrationView } from "./reconcilers/migration/migration-objects.ts";
import { createMigrationPeers } from "./reconcilers/migration/migration-peers.ts";
import { createIsMoving } from "./reconcilers/migration/moving-machines.ts";
import { createNodeNetwork } from "./reconcilers/network/node-network.ts";
import type { Route } from "./server/index.ts";
import { createPeerImages } from "./reconcilers/storage/peer-images.ts";
import { createOwnObjects, createOwnStores, type OwnObjects, type OwnStores } from "./own-objects.ts";
import { createSeedSource } from "./reconcilers/machine/seed-source.ts";

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
  /** For subresources that are no objects. */
  readonly rawClient: RawKubeClient;
  readonly host: Host;
  readonly server: AgentServer;
  readonly liveness: Liveness;
  readonly events: EventRecorder;
  /** The objects of this node. */
  readonly stores: OwnStores;
  readonly objects: OwnObjects;
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
  const rawClient = createRawKubeClient({ kubeConfig, userAgent: "vireo-node-agent" });
  const libvirt = openLibvirt({ socketPath: config.libvirtSocket, events: domainEventKinds });
  libvirt.onDisconnected((err) => logger.warn({ err }, "libvirtd cannot be reached; guests are not touched"));
  const agentMetrics = createAgentMetrics(metrics);
  // The server listens where the host has an address, and the host fetches images as the server's client.
  let host: Host | undefined;
  const server = createAgentServer({
    config,
    client,
    logger,
    metrics,
    tunnelAddress: () => host?.tunnelAddress(),
  });
  const peerImages = createPeerImages({
    peers: server.peers,
    endpointOf: endpointOfNode(client),
  });
  host = await openHost({ config, libvirt, logger, metrics: agentMetrics, peerImages, signal });
  const own = followOwn({ config, logger, metrics, client }, signal);
  const common = { config, logger, metrics, agentMetrics, client, rawClient };
  const liveness = await openLiveness(common);
  const parts: Parts = { ...common, host, server, liveness, ...own };
  const floating = floatingAgentOf(parts);
  try {
    await runTogether(
      {
        // An address is kept by whoever renews it in time: nothing may come before.
        floating: (taskSignal) => floating.run(taskSignal),
        node: async (taskSignal) => {
          await prepareNode(parts, taskSignal);
          await liveness.run((work) => runTogether(tasksOf(parts, work), work), taskSignal);
        },
      },
      signal,
    );
  } finally {
    await Promise.all([host.close(), libvirt.close(), client.close(), rawClient.close()]);
  }
};

/** Before anything is changed on the host: is it ours to change? */
const prepareNode = async ({ config, host, client, logger }: Parts, signal: AbortSignal): Promise<void> => {
  const file = join(config.stateDirectory, "cluster");
  const clusterUid = await readClusterUid(client, logger, signal);
  const remembered = (await host.files.readText(file, { maxBytes: 100 }))?.trim();
  const { volumes, links, cloudInit } = host.rooms;
  const found = await Promise.all([volumes.disks, links, cloudInit].map((room) => room.list({ signal })));
  // What is in a shared pool may be other nodes'.
  const holdsGuests = found.some((things) => things.length > 0);
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

/** What the loops share: the objects of this node, and a voice. */
const followOwn = (
  { config, logger, metrics, client }: Pick<Parts, "config" | "logger" | "metrics" | "client">,
  signal: AbortSignal,
): Pick<Parts, "events" | "stores" | "objects" | "floatingObjects"> => {
  const { nodeName } = config;
  const events = createEventRecorder({
    client,
    component: "vireo.dev/node-agent",
    instance: nodeName,
    logger,
    metrics,
    signal,
  });
  const stores = createOwnStores({ nodeName, client, logger, metrics });
  const floatingObjects = createFloatingObjects({ nodeName, client, logger, metrics });
  return { events, stores, objects: createOwnObjects(stores, client), floatingObjects };
};

const floatingAgentOf = (parts: Parts) => {
  const { config, client, logger, metrics, host, events, stores, objects, floatingObjects } = parts;
  const { nodeName } = config;
  const floating = createFloatingAgent({
    nodeName,
    client,
    objects: floatingObjects,
    floating: host.floating,
    targets: () => (stores.machines.synced ? floatingTargets(objects.machines.list()) : undefined),
    events,
    logger,
    metrics: createFloatingMetrics(metrics),
  });
  stores.machines.onChange(() => floating.refresh());
  return floating;
};

/** What reports of the node are made of beside the host itself: asked when a report is made. */
interface Reportable {
  readonly enforced: ReturnType<typeof createEnforcedGroups>;
  readonly agent: ReturnType<typeof createAgent>;
}

const createReport = (
  { config, client, logger, metrics, host, server, liveness }: Parts,
  store: Store<Hypervisor>,
  { enforced, agent }: Reportable,
) => {
  const reporter = createHypervisorReporter({
    nodeName: config.nodeName,
    labels: config.nodeLabels,
    store,
    client,
    facts: async (signal) => ({
      ...(await host.facts(signal)),
      securityGroups: enforced.list(),
      agentEndpoint: server.endpoint(),
      exports: agent.exports.list(),
      selfFencing: liveness.selfFencing.status(),
    }),
    logger,
    metrics,
    now,
  });
  return async (signal: AbortSignal): Promise<void> => {
    const refresh = (): void => reporter.refresh();
    const stops = [
      host.onFactsChange(refresh),
      enforced.onChange(refresh),
      server.onChange(refresh),
      agent.exports.onChange(refresh),
      agent.onReportable(refresh),
    ];
    await reporter.run(signal).finally(() => stops.forEach((stop) => stop()));
  };
};

const createNetwork = (
  { config, logger, metrics, host, objects, floatingObjects }: Parts,
  cluster: ReturnType<typeof createClusterStores>,
  { enforced, arrivals }: Pick<Reportable, "enforced"> & { readonly arrivals: Arrivals },
  signal: AbortSignal,
) =>
  createNodeNetwork(
    {
      nodeName: config.nodeName,
      machines: objects.machines,
      arriving: () => arrivals.list(),
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

/** The server that the api-server and other nodes reach this one by. */
const serverTasks = (
  { host, objects, stores, server }: Parts,
  { requests }: Reportable["agent"],
  routes: readonly Route[],
) => {
  const consoles = createConsoles();
  stores.machines.onChange(({ before, after }) => {
    if (after === undefined && before !== undefined) consoles.release(before.metadata.uid);
  });
  const { domains, live, images } = host.rooms;
  return server.tasks({
    services: createGuestServices({
      machines: objects.machines,
      requests,
      domains,
      live,
      consoles,
      openGuestPort: createOpenGuestPort(startProgram),
    }),
    routes: [...imageRoutes({ images, files: host.files }), ...routes],
  });
};

/** Migrations that this node is an end of. */
const followMigrations = ({ config, client, host, stores, server }: Parts) => {
  const { nodeName } = config;
  const migrations = createMigrationView(stores, { nodeName, client, now });
  const hasSession = (uid: string): boolean => host.rooms.migrations.outgoing(uid) !== undefined;
  return {
    migrations,
    arrivals: createArrivals(),
    holds: createMigrationHolds(nodeName, () => migrations.list(), hasSession),
    peers: createMigrationPeers({ peers: server.peers, endpointOf: endpointOfNode(client) }),
  };
};

/** Where the agent of a node serves others. */
const endpointOfNode =
  (client: KubeClient) =>
  async (name: string, options: { readonly signal: AbortSignal }): Promise<string | undefined> =>
    (await client.get(hypervisors, { name }, options))?.status?.agentEndpoint;

const tasksOf = (parts: Parts, signal: AbortSignal) => {
  const { config, logger, metrics, agentMetrics, client, host, stores, objects } = parts;
  const { nodeName } = config;
  const fieldSelector = `metadata.name=${nodeName}`;
  const ownHypervisor = createStore({ client, resource: hypervisors, fieldSelector, logger, metrics });
  agentMetrics.follow(() => objects.machines.list());
  const cluster = createClusterStores({ client, logger, metrics });
  const enforced = createEnforcedGroups(() => ownHypervisor.get({ name: nodeName }), now);
  const moves = followMigrations(parts);
  const network = createNetwork(parts, cluster, { enforced, arrivals: moves.arrivals }, signal);
  const agent = createAgent({
    ...parts,
    nodeName,
    rooms: host.rooms,
    network,
    fetchSeed: createSeedSource(parts.rawClient),
    confirmStart: parts.liveness.confirmStart(() => ownHypervisor.get({ name: nodeName })?.spec.outOfService),
    migrating: (machineUid) => moves.holds.of(machineUid),
    isMoving: createIsMoving({ client, nodeName }),
    lifecycleMetrics: createLifecycleMetrics(metrics),
    now,
    wait: (ms, waitSignal) => sleep(systemClock, ms, waitSignal),
    sweepMs: SWEEP_MS,
    workers: WORKERS,
  });
  const migrations = createMigrationAgent({
    ...parts,
    ...moves,
    nodeName,
    room: host.rooms.migrations,
    images: host.rooms.images,
    agent,
    now,
  });
  registerDropMetrics(metrics, () => host.filters.observeDrops({ signal }));

  return {
    ...storeTasks({ ...stores, hypervisor: ownHypervisor, ...cluster }),
    ...serverTasks(parts, agent, migrations.routes),
    migrations: (taskSignal: AbortSignal) => migrations.run(taskSignal),
    "node-network": (taskSignal: AbortSignal) => network.run(taskSignal),
    report: createReport(parts, ownHypervisor, { enforced, agent }),
    agent: (taskSignal: AbortSignal) => agent.run(taskSignal),
    acceleration: async (taskSignal: AbortSignal) => {
      await host.rooms.acceleration();
      await whenAborted(taskSignal);
    },
    "console-logs": (taskSignal: AbortSignal) => trimConsoleLogs(host, logger, taskSignal),
    health: async (taskSignal: AbortSignal) => {
      const health = createHealthServer({ ...config.metrics, metrics, logger });
      health.addReadinessCheck("machines", () => (stores.machines.synced ? undefined : "not in sync yet"));
      const { port, closed } = await health.listen(taskSignal);
      logger.info({ port }, "serving /metrics, /healthz and /readyz");
      await closed;
    },
  };
};

/** One task for each store, by its name. */
const storeTasks = (all: Readonly<Record<string, { run(signal: AbortSignal): Promise<void> }>>) =>
  Object.fromEntries(
    Object.entries(all).map(([name, store]) => [`store ${name}`, (signal: AbortSignal) => store.run(signal)]),
  );

const trimConsoleLogs = async (host: Host, logger: Logger, signal: AbortSignal): Promise<void> => {
  while (!signal.aborted) {
    await sleep(systemClock, CONSOLE_TRIM_MS, signal);
    await host.rooms.domains.trimConsoleLogs({ signal }).catch((err: unknown) => {
      if (!signal.aborted) logger.warn({ err }, "cannot trim the console logs");
    });
  }
};
