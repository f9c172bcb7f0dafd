import { isNotFound } from "./api-error.ts";
import { leases, type Lease } from "./builtin.ts";
import type { KubeClient } from "./client.ts";
import { sleep, systemClock, type Clock } from "./clock.ts";
import type { Logger } from "./logger.ts";
import { microTime } from "./micro-time.ts";

export interface HeartbeatOptions {
  readonly client: KubeClient;
  /** The Lease's name and namespace; the namespace must exist. */
  readonly namespace: string;
  readonly name: string;
  /** Who is alive: the node's name. */
  readonly identity: string;
  /** Others take us for dead after this time without a renewal, in ms. Default 40 s, as kubelet's. */
  readonly leaseDurationMs?: number | undefined;
  /** Time between renewals, in ms. Default 10 s. */
  readonly intervalMs?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly logger: Logger;
  readonly clock?: Clock | undefined;
}

/** Says again and again that we live. */
export interface Heartbeat {
  /** Renews until the signal is aborted. Failures are logged; the next beat tries again. The Lease is not given back. */
  run(signal: AbortSignal): Promise<void>;
  /** Time since the start of the last renewal that succeeded, in ms; undefined before the first. */
  sinceRenewalMs(): number | undefined;
}

/**
 * A node's heartbeat on a Lease, as kubelet's: one small write per beat, which
 * no watch of the node's own object sees.
 */
export const createHeartbeat = (options: HeartbeatOptions): Heartbeat => {
  const clock = options.clock ?? systemClock;
  const intervalMs = options.intervalMs ?? 10_000;
  let renewedAt: number | undefined;
  const beat = async (signal: AbortSignal): Promise<void> => {
    const startedAt = clock.monotonic();
    await renewLease(options, signal);
    renewedAt = startedAt;
  };
  return {
    sinceRenewalMs: () => (renewedAt === undefined ? undefined : clock.monotonic() - renewedAt),
    run: async (signal) => {
      while (!signal.aborted) {
        await beat(signal).catch((error: unknown) => {
          if (!signal.aborted) options.logger.warn({ err: error, lease: options.name }, "heartbeat failed");
        });
        await sleep(clock, intervalMs, signal).catch(() => {});
      }
    },
  };
};

/** Renews the Lease, and makes it when it is not there. */
export const renewLease = async (options: HeartbeatOptions, signal: AbortSignal): Promise<Lease> => {
  const { client, namespace, name, identity, labels } = options;
  const spec = {
    holderIdentity: identity,
    leaseDurationSeconds: leaseSeconds(options.leaseDurationMs ?? 40_000),
    renewTime: microTime((options.clock ?? systemClock).now()),
  };
  try {
    return await client.mergePatch(leases, { namespace, name }, { spec }, { signal });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const metadata = { namespace, name, ...(labels !== undefined && { labels }) };
    return client.create(leases, { metadata, spec }, { signal });
  }
};

/** Leases count whole seconds. */
export const leaseSeconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1000));
