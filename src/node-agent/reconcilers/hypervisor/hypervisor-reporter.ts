import { type Hypervisor, hypervisors } from "../../../api/hypervisor.ts";
import {
  createController,
  done,
  type KubeClient,
  type Logger,
  type Metrics,
  type ReconcileResult,
  requeueAfter,
  type Store,
  type WritableObject,
} from "../../../kube/index.ts";
import { hypervisorAlreadySays, hypervisorStatus, type NodeFacts } from "./hypervisor-status.ts";
import { FIELD_MANAGER } from "../../report.ts";

export interface HypervisorReporterOptions {
  readonly nodeName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Follows this node's Hypervisor only. */
  readonly store: Store<Hypervisor>;
  readonly client: KubeClient;
  readonly facts: (signal: AbortSignal) => Promise<NodeFacts>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly now: () => Date;
}

export interface HypervisorReporter {
  run(signal: AbortSignal): Promise<void>;
  /** Something that the report tells has changed. */
  refresh(): void;
}

/** Slow facts (disk size, addresses) are read again after this time. */
const REFRESH_MS = 60_000;

/**
 * Keeps this node's Hypervisor: makes it when it is missing, and writes its
 * status when that would change something. The heartbeat is a Lease, so that
 * an idle node costs no write here.
 */
export const createHypervisorReporter = (options: HypervisorReporterOptions): HypervisorReporter => {
  const { nodeName, store, client, now } = options;
  const writing = { fieldManager: FIELD_MANAGER, force: true } as const;

  const ensureObject = async (signal: AbortSignal): Promise<Hypervisor> => {
    const stored = store.get({ name: nodeName });
    if (stored !== undefined && hasLabels(stored, options.labels)) return stored;
    const body = { metadata: { name: nodeName, labels: options.labels }, spec: {} };
    return client.apply(hypervisors, body, { ...writing, signal });
  };

  const reconcile = async (signal: AbortSignal): Promise<ReconcileResult> => {
    const hypervisor = await ensureObject(signal);
    const apply = hypervisorStatus(hypervisor, await options.facts(signal), now());
    if (!hypervisorAlreadySays(hypervisor.status, apply.status)) {
      await client.applyStatus(hypervisors, boundTo(hypervisor, apply), { ...writing, signal });
    }
    return requeueAfter(REFRESH_MS);
  };

  const controller = createController({
    name: "hypervisor-report",
    reconcile: ({ name }, signal) => (name === nodeName ? reconcile(signal) : Promise.resolve(done)),
    watches: [{ store }],
    workers: 1,
    backoff: { initialMs: 200, maxMs: 10_000 },
    logger: options.logger,
    metrics: options.metrics,
  });
  const refresh = (): void => controller.enqueue({ name: nodeName });

  return {
    refresh,
    run: (signal) => {
      refresh();
      return controller.run(signal);
    },
  };
};

/**
 * Who takes the promise back, at the agent's end, must have the last word: a
 * report with it is bound to the version that it was made for.
 */
const boundTo = (
  { metadata: { resourceVersion } }: Hypervisor,
  apply: ReturnType<typeof hypervisorStatus>,
): WritableObject =>
  apply.status.selfFencing === undefined
    ? apply
    : { ...apply, metadata: { ...apply.metadata, resourceVersion } };

const hasLabels = ({ metadata }: Hypervisor, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(labels).every(([name, value]) => metadata.labels?.[name] === value);
