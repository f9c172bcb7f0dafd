import { Counter } from "prom-client";
import { SYSTEM_NAMESPACE } from "../../../api/hypervisor.ts";
import {
  createHeartbeat,
  type KubeClient,
  type Logger,
  type Metrics,
  runTogether,
  ShutdownError,
  systemClock,
  type Task,
} from "../../../kube/index.ts";
import type { NodeAgentConfig } from "../../config.ts";
import { findWatchdog } from "../../host/watchdog-device.ts";
import { createSelfFencing, type SelfFencing } from "./self-fencing.ts";
import { type ConfirmStart, createConfirmStart } from "../machine/start-permit.ts";

/** What others know the life of this node by: its heartbeat, and that it resets itself without one. */
export interface Liveness {
  /** What the Hypervisor is to say of the watchdog. */
  readonly selfFencing: Pick<SelfFencing, "status">;
  /** Whether a guest may be started, with what this node's Hypervisor says. */
  confirmStart(isOutOfService: () => boolean | undefined): ConfirmStart;
  /** Does the work while the heartbeat beats: not before the watchdog is armed, where there is one. */
  run(work: Task, signal: AbortSignal): Promise<void>;
}

export interface LivenessOptions {
  readonly config: Pick<NodeAgentConfig, "nodeName" | "watchdogDevice" | "watchdogGraceSeconds">;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, "registry">;
}

/** How long the API server is asked at the end, in ms. */
const END_MS = 5_000;

/** Rejects with UnfitWatchdogError when the device that was asked for cannot do it. */
export const openLiveness = async ({
  config,
  client,
  logger,
  metrics,
}: LivenessOptions): Promise<Liveness> => {
  const { nodeName, watchdogDevice, watchdogGraceSeconds: graceSeconds } = config;
  const heartbeat = createHeartbeat({
    client,
    namespace: SYSTEM_NAMESPACE,
    name: nodeName,
    identity: nodeName,
    logger,
  });
  const keepAlives = new Counter({
    name: "vireo_watchdog_keepalives_total",
    help: "Signs of life to the watchdog by result; withheld while no heartbeat is acknowledged.",
    labelNames: ["result"] as const,
    registers: [metrics.registry],
  });
  const selfFencing = createSelfFencing({
    nodeName,
    client,
    device: watchdogDevice === undefined ? undefined : await findWatchdog(watchdogDevice),
    graceSeconds,
    heartbeat,
    clock: systemClock,
    logger,
    onKeepAlive: (result) => keepAlives.inc({ result }),
  });
  const limitMs = graceSeconds * 1000;
  return {
    selfFencing,
    confirmStart: (isOutOfService) =>
      createConfirmStart({ nodeName, client, heartbeat, limitMs, isOutOfService }),
    run: async (work, signal) => {
      await selfFencing.prepare(signal);
      const afterArming = async (taskSignal: AbortSignal): Promise<void> => {
        await selfFencing.arm(taskSignal);
        const watchdog: Task = (watchdogSignal) => selfFencing.run(watchdogSignal);
        await runTogether({ work, ...(watchdogDevice !== undefined && { watchdog }) }, taskSignal);
      };
      try {
        const beat: Task = (taskSignal) => heartbeat.run(taskSignal);
        await runTogether({ heartbeat: beat, work: afterArming }, signal);
      } finally {
        // After a failure the watchdog waits for the next agent, as after a kill.
        if (signal.reason instanceof ShutdownError) await selfFencing.end(AbortSignal.timeout(END_MS));
      }
    },
  };
};
