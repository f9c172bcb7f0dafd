import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";

export interface MetricsOptions {
  /** Also report the process: CPU, memory, event loop. At most once per process. Default false. */
  readonly process?: boolean;
}

const SECONDS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60];

/**
 * The runtime's own series, in a registry of their own: nothing is global, so
 * that tests and several runtimes in a process do not meet. Other parts add
 * their series with `registers: [metrics.registry]`.
 */
export const createMetrics = (options: MetricsOptions = {}) => {
  const registry = new Registry();
  const registers = [registry];
  if (options.process === true) {
    // The event loop's delay is sampled by a timer, every 10 ms by default: half of what an idle agent costs.
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 200 });
  }
  return { registry, ...apiMetrics(registers), ...storeMetrics(registers), ...workMetrics(registers) };
};

export type Metrics = ReturnType<typeof createMetrics>;

const apiMetrics = (registers: Registry[]) => ({
  /** code: the HTTP status, or "error" when no answer came. */
  apiRequests: new Counter({
    name: "vireo_api_requests_total",
    help: "Requests to the API server.",
    labelNames: ["verb", "kind", "code"] as const,
    registers,
  }),
  apiRequestSeconds: new Histogram({
    name: "vireo_api_request_duration_seconds",
    help: "Time until the API server's answer was complete; watches are not counted.",
    labelNames: ["verb", "kind"] as const,
    buckets: SECONDS,
    registers,
  }),
  events: new Counter({
    name: "vireo_events_total",
    help: "Kubernetes events by what became of them: created, aggregated, dropped.",
    labelNames: ["result"] as const,
    registers,
  }),
  leader: new Gauge({
    name: "vireo_leader",
    help: "1 while this process leads.",
    labelNames: ["lease"] as const,
    registers,
  }),
});

const storeMetrics = (registers: Registry[]) => ({
  storeObjects: new Gauge({
    name: "vireo_store_objects",
    help: "Objects in the store.",
    labelNames: ["kind"] as const,
    registers,
  }),
  storeUnreadable: new Gauge({
    name: "vireo_store_unreadable_objects",
    help: "Objects that exist but do not fit their kind's schema; nothing is done about them.",
    labelNames: ["kind"] as const,
    registers,
  }),
  watchRestarts: new Counter({
    name: "vireo_watch_restarts_total",
    help: "Watches that were started again, by cause: ended, failed, expired.",
    labelNames: ["kind", "cause"] as const,
    registers,
  }),
});

const workMetrics = (registers: Registry[]) => ({
  queueDepth: new Gauge({
    name: "vireo_queue_depth",
    help: "Keys that wait for a worker.",
    labelNames: ["queue"] as const,
    registers,
  }),
  queueWaitSeconds: new Histogram({
    name: "vireo_queue_wait_seconds",
    help: "Time a key waited for a worker.",
    labelNames: ["queue"] as const,
    buckets: SECONDS,
    registers,
  }),
  queueRetries: new Counter({
    name: "vireo_queue_retries_total",
    help: "Keys that were put back after a failure.",
    labelNames: ["queue"] as const,
    registers,
  }),
  reconciles: new Counter({
    name: "vireo_reconcile_total",
    help: "Reconciles by result: done, requeued, waiting, stalled, conflict, error.",
    labelNames: ["controller", "result"] as const,
    registers,
  }),
  reconcileSeconds: new Histogram({
    name: "vireo_reconcile_duration_seconds",
    help: "Time that one reconcile took.",
    labelNames: ["controller"] as const,
    buckets: SECONDS,
    registers,
  }),
});
