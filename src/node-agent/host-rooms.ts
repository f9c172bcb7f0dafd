import type { Acceleration, RetainedVolume } from "../api/hypervisor.ts";
import { type Logger, sleep, systemClock } from "../kube/index.ts";
import type { LibvirtClient } from "../libvirt/index.ts";
import { createCloudInit } from "./cloud-init/index.ts";
import { type NodeAgentConfig, storagePoolsOf } from "./config.ts";
import { chainSizeMiB } from "./desired.ts";
import { createDisks, type PeerSource } from "./disks/index.ts";
import {
  availableFeatures,
  createDomains,
  createLiveDomains,
  domainName,
  type Domains,
  probeAcceleration,
} from "./domains/index.ts";
import { createFilters, type Filters } from "./filters/index.ts";
import { createFloating, type Floating } from "./floating/index.ts";
import { runCommand } from "./host/command.ts";
import { hostFacts, nodeAddresses } from "./host/facts.ts";
import { createFiles, type Files } from "./host/files.ts";
import { createInTurn } from "./host/in-turn.ts";
import { hostInterfaces, readDefaultRoute } from "./host/interfaces.ts";
import type { NodeFacts } from "./reconcilers/hypervisor/hypervisor-status.ts";
import type { AgentMetrics } from "./metrics.ts";
import { createLinks, isGuestDevice } from "./links/index.ts";
import { createMigrations } from "./migrations/index.ts";
import { once } from "./once.ts";
import { createProbes, type Probes } from "./probes/index.ts";
import type { NodeRooms } from "./rooms.ts";
import { chooseTunnelAddress } from "./reconcilers/network/tunnel-address.ts";
import { createVolumes, type Volumes } from "./volumes/index.ts";

/** What the Hypervisor reports that the host itself knows. */
export type HostFacts = Omit<NodeFacts, "securityGroups" | "agentEndpoint" | "exports">;

/** Everything of this node that the agent works with. */
export interface Host {
  readonly rooms: NodeRooms;
  readonly files: Files;
  readonly filters: Filters;
  readonly floating: Floating;
  /** Addresses that guests must not reach: this node's, and those that the administrator named. */
  nodeAddresses(): readonly string[];
  /** Where other nodes send guests' packets to. */
  tunnelAddress(): string | undefined;
  /** What the Hypervisor reports of the host. */
  facts(signal: AbortSignal): Promise<HostFacts>;
  /** Calls back when something that `facts` tells has changed. */
  onFactsChange(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface HostOptions {
  readonly config: NodeAgentConfig;
  readonly libvirt: LibvirtClient;
  readonly logger: Logger;
  readonly metrics: AgentMetrics;
  /** Images that other nodes have made. */
  readonly peerImages: PeerSource;
  readonly signal: AbortSignal;
}

const AGENT_VERSION = "0.1.0";

/** libvirt's names of the architectures that Node runs on. */
const architectures: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };

/** The one place where the rooms' implementations are chosen. */
export const openHost = async (options: HostOptions): Promise<Host> => {
  const { config, libvirt, logger, metrics, signal } = options;
  const { stateDirectory } = config;
  const pools = storagePoolsOf(config);
  const roots = [
    stateDirectory,
    ...(config.importDirectory === undefined ? [] : [config.importDirectory]),
    ...pools.map(({ path }) => path),
  ];
  const files = createFiles({ roots });
  // Both hook into the same chains of iptables.
  const iptablesInTurn = createInTurn();
  const { floating, isFloating } = await knowingFloating(
    createFloating({ run: runCommand, logger, device: config.floatingInterface, iptablesInTurn }),
    signal,
  );
  const ownAddresses = (): string[] => nodeAddresses(isGuestDevice).filter((address) => !isFloating(address));
  const forbiddenAddresses = (): readonly string[] => [...ownAddresses(), ...config.nodeAddresses];
  let defaultRoute = await readDefaultRoute(runCommand, signal);
  const tunnelAddress = (): string | undefined =>
    chooseTunnelAddress(config.tunnelAddress, defaultRoute, hostInterfaces(isGuestDevice));

  const images = await createDisks({
    stateDirectory,
    ...(config.importDirectory === undefined ? {} : { importDirectory: config.importDirectory }),
    ...(config.imageCacheBytes === undefined ? {} : { limits: { cacheBytes: config.imageCacheBytes } }),
    allowedDownloadNetworks: config.allowedDownloadNetworks,
    nodeAddresses: forbiddenAddresses,
    peerSource: options.peerImages,
    run: runCommand,
    files,
    logger,
    now: () => new Date(),
    metrics: metrics.disks,
    imagesOnDisks: () => volumes.imagesInUse(),
  });
  const volumes = createVolumes({
    pools,
    run: runCommand,
    files,
    logger,
    findImage: (imageUid) => images.findImage(imageUid),
  });
  const domains = createDomains({ libvirt, stateDirectory, files });
  const acceleration = probedOnce(
    () => probeAcceleration({ run: runCommand, files, stateDirectory, signal }),
    logger,
  );
  const rooms: NodeRooms = {
    images,
    volumes,
    cloudInit: createCloudInit({ stateDirectory, run: runCommand, files }),
    links: createLinks({ run: runCommand }),
    domains,
    live: createLiveDomains({ libvirt }),
    migrations: createMigrations({ libvirt, stateDirectory, files, domainName }),
    probes: createGuestProbes(domains, logger, metrics),
    acceleration: acceleration.probe,
  };

  let fromLibvirt: Pick<NodeFacts, "firmwares" | "tpm" | "versions"> = {
    firmwares: [],
    tpm: undefined,
    versions: undefined,
  };
  const facts = async (factsSignal: AbortSignal): Promise<HostFacts> => {
    // While libvirtd is away, what it said last still holds.
    if (libvirt.connected) fromLibvirt = await askLibvirt(libvirt, factsSignal);
    defaultRoute = await readDefaultRoute(runCommand, factsSignal);
    return {
      ...fromLibvirt,
      tunnelAddress: tunnelAddress(),
      host: await hostFacts({ files, diskPath: stateDirectory, addresses: ownAddresses() }),
      reservedMemoryMiB: config.reservedMemoryMiB,
      zone: config.zone,
      architecture: architectures[process.arch] ?? process.arch,
      acceleration: acceleration.known(),
      libvirtConnected: libvirt.connected,
      images: images.images(),
      storagePools: await volumes.pools({ signal: factsSignal }),
      retainedVolumes: await retainedVolumes(volumes, factsSignal),
    };
  };

  return {
    rooms,
    files,
    filters: createFilters({ run: runCommand, inTurn: iptablesInTurn }),
    floating,
    nodeAddresses: forbiddenAddresses,
    tunnelAddress,
    facts,
    onFactsChange: (listener) => {
      const stops = [
        libvirt.onConnected(listener),
        libvirt.onDisconnected(listener),
        images.onImageChange(listener),
        acceleration.onKnown(listener),
      ];
      return () => stops.forEach((stop) => stop());
    },
    close: async () => {
      await volumes.close();
      await images.close();
    },
  };
};

const createGuestProbes = (domains: Domains, logger: Logger, metrics: AgentMetrics): Probes =>
  createProbes({
    run: runCommand,
    askAgent: (...request) => domains.askAgent(...request),
    timing: {
      monotonic: () => systemClock.monotonic(),
      sleep: (ms, signal) => sleep(systemClock, ms, signal),
    },
    now: () => new Date(),
    onResult: metrics.probeFinished,
    onTrouble: (uid, message) => logger.warn({ uid, message }, "cannot probe a guest"),
  });

/** A floating address is on an interface of the node, and is a guest's: which ones these are has to be known. */
const knowingFloating = async (room: Floating, signal: AbortSignal) => {
  const known = new Set(await room.held({ signal }));
  const floating: Floating = {
    ...room,
    hold: async (addresses, options) => {
      for (const address of addresses) known.add(address);
      await room.hold(addresses, options);
    },
    withdraw: async (addresses, options) => {
      await room.withdraw(addresses, options);
      for (const address of addresses) known.delete(address);
    },
  };
  return { floating, isFloating: (address: string): boolean => known.has(address) };
};

const askLibvirt = async (libvirt: LibvirtClient, signal: AbortSignal) => {
  const { firmwares, tpm } = await availableFeatures(libvirt, { signal });
  return { firmwares, tpm, versions: { agent: AGENT_VERSION, ...(await libvirt.versions({ signal })) } };
};

/** Data of deleted Volumes that a new one can take over. */
const retainedVolumes = async (volumes: Volumes, signal: AbortSignal): Promise<readonly RetainedVolume[]> => {
  const found = await volumes.disks.list({ signal });
  const retained: RetainedVolume[] = [];
  for (const { ref, retained: former } of found) {
    if (former === undefined) continue;
    const chain = await volumes.disks.find(ref, { signal });
    retained.push({
      uid: ref.uid,
      pool: ref.pool,
      ...former,
      sizeMiB: chain === undefined ? 0 : chainSizeMiB(chain),
    });
  }
  return retained;
};

/** The probe runs once in the life of the agent: a machine does not gain or lose KVM while it runs. */
const probedOnce = (work: () => Promise<Acceleration>, logger: Logger) => {
  let known: Acceleration | undefined;
  const listeners = new Set<() => void>();
  const probe = once(async () => {
    const found = await work();
    known = found;
    logger.info({ acceleration: found }, "probed acceleration by running a guest");
    for (const listener of listeners) listener();
    return found;
  });
  return {
    probe,
    known: () => known,
    onKnown: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
};
