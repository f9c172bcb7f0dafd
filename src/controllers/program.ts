import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { SYSTEM_NAMESPACE } from "../api/hypervisor.ts";
import {
  createEventRecorder,
  createHealthServer,
  createKubeClient,
  createMetrics,
  type EventRecorder,
  fenceWrites,
  type KubeClient,
  loadKubeConfig,
  type Logger,
  type Metrics,
  runLeaderElection,
  runTogether,
  systemClock,
  type Task,
} from "../kube/index.ts";
import { createAddressSliceController } from "./address-slice/controller.ts";
import { createBooks } from "./books.ts";
import { certificateTasks } from "./certificate/controller.ts";
import type { ControllerConfig } from "./config.ts";
import type { ControllerContext, Stores } from "./context.ts";
import { createFlavorController } from "./flavor/controller.ts";
import { createFloatingIpController } from "./floating-ip/controller.ts";
import { createFloatingIpPoolController } from "./floating-ip-pool/controller.ts";
import { createHypervisorController } from "./hypervisor/controller.ts";
import { createHypervisorDrainController } from "./hypervisor-drain/controller.ts";
import { createImageController } from "./image/controller.ts";
import { createKeyPairController } from "./key-pair/controller.ts";
import { type ControllerMetrics, createControllerMetrics, registerStoreMetrics } from "./metrics.ts";
import { createNetworkController } from "./network/controller.ts";
import { createSecurityGroupController } from "./security-group/controller.ts";
import { createStores } from "./stores.ts";
import { createVirtualMachineController } from "./virtual-machine/controller.ts";
import { createVirtualMachineMigrationController } from "./virtual-machine-migration/controller.ts";
import { createVirtualMachineRestoreController } from "./virtual-machine-restore/controller.ts";
import { createVirtualMachineSnapshotController } from "./virtual-machine-snapshot/controller.ts";
import { createVolumeController } from "./volume/controller.ts";

const LEASE_NAME = "vireo-controller";
/** Time for the last events to leave when a term ends, in ms. */
const EVENT_FLUSH_MS = 2_000;

/** What lives as long as the process. */
interface Program {
  readonly config: ControllerConfig;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics: Metrics & ControllerMetrics;
  /** Tells apart the processes that want to lead. */
  readonly identity: string;
  /** The stores of the current term; undefined while another process leads. */
  stores: Stores | undefined;
}

/** The controller: runs until the signal is aborted. Guests and agents go on when it ends. */
export const runController = async (
  { config, logger }: { readonly config: ControllerConfig; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> => {
  const runtime = createMetrics({ process: true });
  const metrics = { ...runtime, ...createControllerMetrics(runtime.registry) };
  const client = createKubeClient({ kubeConfig: loadKubeConfig(config), metrics, userAgent: LEASE_NAME });
  const identity = `${hostname()}-${randomBytes(4).toString("hex")}`;
  const program: Program = { config, client, logger, metrics, identity, stores: undefined };
  registerStoreMetrics(metrics.registry, () => program.stores);
  try {
    const work: Task = config.leaderElect
      ? (taskSignal) => campaign(program, taskSignal)
      : (taskSignal) => lead(program, client, taskSignal);
    await runTogether({ health: (taskSignal) => serveHealth(program, config, taskSignal), work }, signal);
  } finally {
    await client.close();
  }
};

const campaign = (program: Program, signal: AbortSignal): Promise<void> =>
  runLeaderElection({
    client: program.client,
    namespace: SYSTEM_NAMESPACE,
    leaseName: LEASE_NAME,
    identity: program.identity,
    onStartedLeading: (term, leadership) => lead(program, fenceWrites(program.client, leadership), term),
    logger: program.logger,
    metrics: program.metrics,
    signal,
  });

/**
 * One term of leading. The stores are new in each term and are filled after its
 * beginning, by lists that see every write of the leader before: what it has
 * given out is known before anything else is given out.
 */
const lead = async (program: Program, client: KubeClient, signal: AbortSignal): Promise<void> => {
  const { logger, metrics } = program;
  const stores = createStores({ client, logger, metrics, clock: systemClock });
  // Events outlive the term by a moment: the last ones tell how it ended.
  const recording = new AbortController();
  const events = createEventRecorder({
    client: program.client,
    component: "vireo.dev/controller",
    instance: program.identity,
    logger,
    metrics,
    signal: recording.signal,
  });
  program.stores = stores;
  try {
    const context = { client, stores, events, logger, metrics, clock: systemClock };
    await runTogether(tasksOf(context, program.config), signal);
  } finally {
    program.stores = undefined;
    await flush(events);
    recording.abort();
  }
};

const tasksOf = (
  context: ControllerContext,
  { maxParallelMigrations: maxParallel }: ControllerConfig,
): Readonly<Record<string, Task>> => {
  const books = createBooks(context.stores);
  const stores = Object.entries(context.stores).map(([name, store]) => [
    `store ${name}`,
    (signal: AbortSignal) => store.run(signal),
  ]);
  const controllers = Object.entries({
    flavor: createFlavorController(context),
    image: createImageController(context),
    keyPair: createKeyPairController(context),
    network: createNetworkController(context),
    securityGroup: createSecurityGroupController(context),
    hypervisor: createHypervisorController(context),
    hypervisorDrain: createHypervisorDrainController(context),
    virtualMachine: createVirtualMachineController(context, books),
    volume: createVolumeController(context),
    virtualMachineSnapshot: createVirtualMachineSnapshotController(context),
    virtualMachineRestore: createVirtualMachineRestoreController(context),
    virtualMachineMigration: createVirtualMachineMigrationController(context, { books, maxParallel }),
    addressSlice: createAddressSliceController(context),
    floatingIp: createFloatingIpController(context),
    floatingIpPool: createFloatingIpPoolController(context),
  }).map(([name, controller]) => [`controller ${name}`, (signal: AbortSignal) => controller.run(signal)]);
  return { ...Object.fromEntries([...stores, ...controllers]), ...certificateTasks(context) };
};

const flush = (events: EventRecorder): Promise<void> =>
  events.flush(AbortSignal.timeout(EVENT_FLUSH_MS)).catch(() => {});

/** A process that waits for its turn to lead is ready; one that leads is when its stores are in sync. */
const serveHealth = async (
  program: Program,
  { metrics: address }: ControllerConfig,
  signal: AbortSignal,
): Promise<void> => {
  const { logger, metrics } = program;
  const health = createHealthServer({ ...address, metrics, logger });
  health.addReadinessCheck("stores", () => {
    const late = Object.entries(program.stores ?? {}).filter(([, store]) => !store.synced);
    return late.length === 0 ? undefined : `not in sync yet: ${late.map(([name]) => name).join(", ")}`;
  });
  const { port, closed } = await health.listen(signal);
  logger.info({ port }, "serving /metrics, /healthz and /readyz");
  await closed;
};
