import { type Hypervisor, type HypervisorStatus, hypervisors } from "../../../api/hypervisor.ts";
import { type Clock, isConflict, type KubeClient, type Logger, sleep } from "../../../kube/index.ts";
import type { WatchdogDevice } from "../../host/watchdog-device.ts";

/**
 * This node resets itself when its agent has lost the API server, or has died:
 * a watchdog timer is kept alive only while heartbeats are acknowledged. Who
 * sees no heartbeat for long enough then knows that no guest runs here any more
 * (docs/design/fencing.md).
 */
export type SelfFencingStatus = NonNullable<HypervisorStatus["selfFencing"]>;

/**
 * Whether the timer may be kept alive.
 *
 * @param sinceAcknowledgedMs since the beginning of the last heartbeat that the API server has acknowledged to this process
 */
export const mayKeepAlive = (sinceAcknowledgedMs: number | undefined, graceMs: number): boolean =>
  sinceAcknowledgedMs !== undefined && sinceAcknowledgedMs <= graceMs;

/** Often enough that a beat may be late, in ms. */
export const keepAliveIntervalMs = (timeoutSeconds: number): number =>
  Math.min(5_000, (timeoutSeconds * 1000) / 4);

/** Whether the stored word would be untrue once this process speaks: then it is taken back before. */
export const isStale = (stored: SelfFencingStatus | undefined, own: SelfFencingStatus | undefined): boolean =>
  stored !== undefined &&
  (stored.graceSeconds !== own?.graceSeconds || stored.timeoutSeconds !== own.timeoutSeconds);

export interface SelfFencingOptions {
  readonly nodeName: string;
  readonly client: Pick<KubeClient, "get" | "mergePatch">;
  /** Undefined: this node does not reset itself. */
  readonly device: WatchdogDevice | undefined;
  readonly graceSeconds: number;
  readonly heartbeat: { sinceRenewalMs(): number | undefined };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onKeepAlive: (result: "sent" | "withheld" | "failed") => void;
}

export interface SelfFencing {
  /** What the Hypervisor is to say; undefined while the timer does not run. */
  status(): SelfFencingStatus | undefined;
  /**
   * Before the first heartbeat: takes back what an earlier agent has said and
   * what will not be true. Resolves when the API server has acknowledged that.
   */
  prepare(signal: AbortSignal): Promise<void>;
  /**
   * After the first acknowledged heartbeat, and before any guest is started:
   * begins the timer. Not earlier, since opening the device is a sign of life:
   * an agent that ends and begins again and again, without the API server, must
   * not keep it going.
   */
  arm(signal: AbortSignal): Promise<void>;
  /** Keeps the timer alive while it may. To be run from `arm` on. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * At a clean end: takes the word back, and when the API server has
   * acknowledged that, ends the timer. Otherwise the timer goes on, and resets
   * the node unless another agent is here in time.
   */
  end(signal: AbortSignal): Promise<void>;
}

const RETRY_MS = 250;

export const createSelfFencing = (options: SelfFencingOptions): SelfFencing => {
  const { device, graceSeconds, heartbeat, clock, logger, onKeepAlive } = options;
  const own = device && { graceSeconds, timeoutSeconds: device.timeoutSeconds };
  let isArmed = false;
  let isWithheld = false;

  const beat = (timer: WatchdogDevice): void => {
    const sinceMs = heartbeat.sinceRenewalMs();
    if (mayKeepAlive(sinceMs, graceSeconds * 1000)) {
      timer.keepAlive();
      onKeepAlive("sent");
      isWithheld = false;
      return;
    }
    onKeepAlive("withheld");
    if (!isWithheld)
      logger.error(
        { sinceMs, timeoutSeconds: timer.timeoutSeconds },
        "no heartbeat has been acknowledged for too long: the watchdog resets this node unless that changes",
      );
    isWithheld = true;
  };

  return {
    status: () => (isArmed ? own : undefined),
    prepare: (signal) =>
      untilSaid(options, { decide: (stored) => (isStale(stored, own) ? "take-back" : "done") }, signal),
    arm: async (signal) => {
      if (device === undefined) return;
      while (!mayKeepAlive(heartbeat.sinceRenewalMs(), graceSeconds * 1000))
        await sleep(clock, RETRY_MS, signal);
      device.arm();
      isArmed = true;
      logger.info(own ?? {}, "this node resets itself when it loses the API server, or its agent");
      if (device.cannotBeDisarmed)
        logger.warn(
          {},
          "the watchdog has nowayout: the node is reset whenever its agent is away for so long",
        );
    },
    run: async (signal) => {
      if (device === undefined) return;
      while (!signal.aborted) {
        try {
          beat(device);
        } catch (err) {
          onKeepAlive("failed");
          logger.error({ err }, "cannot keep the watchdog alive");
        }
        await sleep(clock, keepAliveIntervalMs(device.timeoutSeconds), signal).catch(() => {});
      }
    },
    end: async (signal) => {
      // What cannot be ended stays true.
      if (device === undefined || !isArmed || device.cannotBeDisarmed) return;
      try {
        beat(device);
        await untilSaid(options, { decide: nextAtEnd, own }, signal);
        device.disarm();
        isArmed = false;
        logger.info({}, "the watchdog is off");
      } catch (err) {
        logger.error(
          { err, timeoutSeconds: device.timeoutSeconds },
          "the API server could not be told that the watchdog is off, so that it is not: it resets this node unless an agent is here in time",
        );
      }
    },
  };
};

type Said = "done" | "say" | "take-back";

/**
 * Taken back, and by a write that was seen: also where nothing is said it is said
 * once, so that a first report which is still on its way meets a conflict.
 */
const nextAtEnd = (stored: SelfFencingStatus | undefined, hasChanged: boolean): Said => {
  if (stored !== undefined) return "take-back";
  return hasChanged ? "done" : "say";
};

interface Saying {
  /** With what is stored, and whether the object has changed since the first write of this call. */
  readonly decide: (stored: SelfFencingStatus | undefined, hasChanged: boolean) => Said;
  readonly own?: SelfFencingStatus | undefined;
}

/**
 * Every write is bound to the version that was read: a report that is still on
 * its way, which is bound as well, must not say it again afterwards.
 */
const untilSaid = async (
  { client, nodeName, clock, logger }: SelfFencingOptions,
  { decide, own }: Saying,
  signal: AbortSignal,
): Promise<void> => {
  let bound: string | undefined;
  for (;;) {
    signal.throwIfAborted();
    try {
      const found = await client.get(hypervisors, { name: nodeName }, { signal });
      if (found === undefined) return;
      const { resourceVersion } = found.metadata;
      const next = decide(found.status?.selfFencing, bound !== undefined && bound !== resourceVersion);
      if (next === "done") return;
      bound = resourceVersion;
      await patch(found, next === "say" ? own : undefined, client, signal);
    } catch (err) {
      if (signal.aborted) throw err;
      if (!isConflict(err)) logger.warn({ err }, "cannot say yet whether this node resets itself");
      await sleep(clock, RETRY_MS, signal);
    }
  }
};

const patch = async (
  { metadata: { name, uid, resourceVersion } }: Hypervisor,
  selfFencing: SelfFencingStatus | undefined,
  client: SelfFencingOptions["client"],
  signal: AbortSignal,
): Promise<void> => {
  const body = { metadata: { uid, resourceVersion }, status: { selfFencing: selfFencing ?? null } };
  await client.mergePatch(hypervisors, { name }, body, { signal, subresource: "status" });
};
