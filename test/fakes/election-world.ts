import { ApiError, TransportError } from "../../src/kube/api-error.ts";
import type { Lease } from "../../src/kube/builtin.ts";
import type { KubeClient } from "../../src/kube/client.ts";
import type { Clock } from "../../src/kube/clock.ts";
import { runLeaderElection, type Leadership } from "../../src/kube/leader-election.ts";
import { createMetrics } from "../../src/kube/metrics.ts";
import { ManualClock } from "./manual-clock.ts";
import { createRecordingLogger } from "./recording-logger.ts";

/** The defaults of runLeaderElection. */
export const times = { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000 };

/** One Lease in memory, with optimistic concurrency. */
export class LeaseServer {
  lease: Lease | undefined;
  writes = 0;
  #version = 0;

  read(): Lease | undefined {
    return this.lease;
  }

  create(spec: Lease["spec"]): Lease {
    if (this.lease !== undefined) throw new ApiError("create", 409, { reason: "AlreadyExists" });
    return this.#store(spec);
  }

  patch(resourceVersion: unknown, spec: Lease["spec"]): Lease {
    if (this.lease === undefined) throw new ApiError("patch", 404, { reason: "NotFound" });
    if (resourceVersion !== this.lease.metadata.resourceVersion)
      throw new ApiError("patch", 409, { reason: "Conflict" });
    return this.#store({ ...this.lease.spec, ...spec });
  }

  #store(spec: Lease["spec"]): Lease {
    this.#version += 1;
    this.writes += 1;
    const metadata = {
      name: "vireo",
      namespace: "vireo",
      uid: "u",
      resourceVersion: String(this.#version),
      creationTimestamp: "t",
    };
    this.lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
    return this.lease;
  }
}

/** What lies between a process and the server, in the order in which it is used up. */
export interface Weather {
  readonly thereMs: number;
  readonly backMs: number;
  readonly outcome: "arrives" | "request-lost" | "answer-lost";
}

/** A process with a clock of its own, which can be frozen (SIGSTOP) and thawed. */
export class ElectionProcess implements Clock {
  readonly identity: string;
  readonly stop = new AbortController();
  leadership: Leadership | undefined;
  /** What the process did, and when: true time. */
  readonly terms: { from: number; to: number | undefined }[] = [];
  ended: Promise<void> = Promise.resolve();
  #frozenUntil = 0;
  readonly #world: ManualClock;
  readonly #skewMs: number;

  constructor(world: ManualClock, identity: string, skewMs: number) {
    this.#world = world;
    this.identity = identity;
    this.#skewMs = skewMs;
  }

  now(): number {
    return this.#world.now() + this.#skewMs;
  }

  monotonic(): number {
    return this.#world.monotonic() + 1_000_000;
  }

  after(ms: number, callback: () => void): () => void {
    return this.#world.after(ms, () => this.whenThawed(callback));
  }

  freeze(ms: number): void {
    this.#frozenUntil = Math.max(this.#frozenUntil, this.#world.monotonic() + ms);
  }

  get isFrozen(): boolean {
    return this.#world.monotonic() < this.#frozenUntil;
  }

  whenThawed(callback: () => void): void {
    if (this.isFrozen)
      this.#world.after(this.#frozenUntil - this.#world.monotonic(), () => this.whenThawed(callback));
    else callback();
  }
}

/** A client whose requests take time, get lost, and are answered to a process that may be frozen. */
export const connect = (
  world: ManualClock,
  server: LeaseServer,
  process: ElectionProcess,
  weather: () => Weather,
): KubeClient => {
  const call = <R>(work: () => R, signal: AbortSignal): Promise<R> =>
    new Promise((resolve, reject) => {
      const { thereMs, backMs, outcome } = weather();
      const hangUp = (): void => reject(signal.reason as Error);
      signal.addEventListener("abort", hangUp);
      const settleLater = (finish: () => void): void =>
        void world.after(backMs, () =>
          process.whenThawed(() => {
            signal.removeEventListener("abort", hangUp);
            finish();
          }),
        );
      world.after(thereMs, () => {
        if (outcome === "request-lost")
          return settleLater(() => reject(new TransportError("lease", new Error("lost"))));
        try {
          const result = work();
          if (outcome === "arrives") settleLater(() => resolve(result));
          else settleLater(() => reject(new TransportError("lease", new Error("lost"))));
        } catch (error) {
          settleLater(() => reject(error));
        }
      });
    });
  return {
    get: (_resource: unknown, _key: unknown, { signal }: { signal: AbortSignal }) =>
      call(() => server.read(), signal),
    create: (_resource: unknown, body: { spec: Lease["spec"] }, { signal }: { signal: AbortSignal }) =>
      call(() => server.create(body.spec), signal),
    mergePatch: (
      _resource: unknown,
      _key: unknown,
      patch: { metadata?: { resourceVersion?: string }; spec: Lease["spec"] },
      { signal }: { signal: AbortSignal },
    ) => call(() => server.patch(patch.metadata?.resourceVersion, patch.spec), signal),
  } as unknown as KubeClient;
};

export const fairWeather: Weather = { thereMs: 5, backMs: 5, outcome: "arrives" };

/** Processes that compete for one Lease, in time that the test moves. */
export const createElectionWorld = (timing = times) => {
  const world = new ManualClock();
  const server = new LeaseServer();
  const logger = createRecordingLogger();
  const metrics = createMetrics();
  const processes: ElectionProcess[] = [];
  /** Work that goes on until it is told to end, and takes `windDownMs` for that. */
  const join = (
    identity: string,
    options: { weather?: () => Weather; skewMs?: number; windDownMs?: number } = {},
  ): ElectionProcess => {
    const process = new ElectionProcess(world, identity, options.skewMs ?? 0);
    processes.push(process);
    const client = connect(world, server, process, options.weather ?? (() => fairWeather));
    process.ended = runLeaderElection({
      client,
      namespace: "vireo",
      leaseName: "vireo",
      identity,
      ...timing,
      logger,
      metrics,
      clock: process,
      random: () => 0.5,
      signal: process.stop.signal,
      onStartedLeading: async (signal, leadership) => {
        const term: { from: number; to: number | undefined } = { from: world.monotonic(), to: undefined };
        process.leadership = leadership;
        process.terms.push(term);
        await new Promise<void>((resolve) => {
          const end = (): void => void process.after(options.windDownMs ?? 0, resolve);
          if (signal.aborted) end();
          else signal.addEventListener("abort", end);
        });
        term.to = world.monotonic();
        process.leadership = undefined;
      },
    });
    return process;
  };
  const leaders = (): string[] =>
    processes.filter(({ leadership }) => leadership?.isCurrent()).map(({ identity }) => identity);
  const close = async (): Promise<void> => {
    for (const process of processes) process.stop.abort();
    await world.advance(60_000);
    await Promise.all(processes.map(({ ended }) => ended));
  };
  return { world, server, logger, metrics, join, leaders, close };
};
