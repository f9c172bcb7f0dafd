/** The door of src/kube: what controllers and the node agent build on (docs/design/kube.md). */
export { linkAbort, untilAborted, whenAborted, withDeadline, DeadlineError } from "./abort.ts";
export { ApiError, TransportError, isConflict, isNotFound } from "./api-error.ts";
export { backoffDelay, type Backoff } from "./backoff.ts";
export {
  apiServices,
  certificateSigningRequests,
  configMaps,
  events,
  leases,
  namespaces,
  secrets,
  type ApiService,
  type CertificateSigningRequest,
  type ConfigMap,
  type Event,
  type Lease,
  type Namespace,
  type Secret,
} from "./builtin.ts";
export {
  createKubeClient,
  type Abortable,
  type ApplyOptions,
  type DeleteOptions,
  type KubeClient,
  type KubeClientOptions,
  type MergePatchOptions,
  type Selection,
  type WritableObject,
} from "./client.ts";
export { sleep, systemClock, type Clock, type Random } from "./clock.ts";
export {
  createController,
  done,
  isMoreThanStatus,
  requeueAfter,
  sameKey,
  type Controller,
  type ControllerOptions,
  type ControllerWatch,
  type Reconcile,
  type ReconcileResult,
} from "./controller.ts";
export type { EventSubject } from "./event-series.ts";
export {
  createEventRecorder,
  type EventRecorder,
  type EventRecorderOptions,
  type EventType,
} from "./events.ts";
export {
  FENCED,
  createFencingLease,
  fenceLease,
  fenceMissingLease,
  type FencingLease,
  type FencingLeaseOptions,
  type Renewal,
} from "./fencing-lease.ts";
export { createHealthServer, type Check, type HealthServer, type HealthServerOptions } from "./health.ts";
export { loadKubeConfig, type KubeConfig, type LoadKubeConfigOptions } from "./kube-config.ts";
export {
  LeadershipLostError,
  fenceWrites,
  runLeaderElection,
  type LeaderElectionOptions,
  type Leadership,
} from "./leader-election.ts";
export { createHeartbeat, renewLease, type Heartbeat, type HeartbeatOptions } from "./lease.ts";
export { createLogger, loggerFor, logLevels, silentLogger, type LogLevel, type Logger } from "./logger.ts";
export { microTime } from "./micro-time.ts";
export { createMetrics, type Metrics } from "./metrics.ts";
export { UnreadableObjectError, type Change, type UnreadableObject } from "./object-cache.ts";
export { ObjectParseError, asRawObject, deepFreeze, type RawObject } from "./object-codec.ts";
export { formatKey, keyOf, parseKey, type ObjectKey } from "./object-key.ts";
export {
  createRawKubeClient,
  type RawKubeClient,
  type RawKubeClientOptions,
  type RawRequest,
  type RawStream,
  type WebSocketEnd,
  type WebSocketStream,
} from "./raw-client.ts";
export { StalledError, WaitingError } from "./reconcile-error.ts";
export { collectionPath, objectPath, withQuery, type Query } from "./resource-path.ts";
export { isAtLeast } from "./resource-version.ts";
export {
  ShutdownError,
  runTogether,
  runUntilShutdown,
  type RunUntilShutdownOptions,
  type Task,
} from "./run.ts";
export { createStore, type Store, type StoreOptions } from "./store.ts";
export {
  createWorkQueue,
  type Process,
  type WorkQueue,
  type WorkQueueOptions,
  type WorkResult,
} from "./work-queue.ts";
