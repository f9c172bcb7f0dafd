import { linkAbort, withDeadline, type LinkedAbort } from "./abort.ts";
import { isConflict, isNotFound } from "./api-error.ts";
import { leases, type Lease } from "./builtin.ts";
import type { KubeClient } from "./client.ts";
import { sleep, systemClock, type Clock, type Random } from "./clock.ts";
import { leaseSeconds } from "./lease.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { microTime } from "./micro-time.ts";

/** One term of leading. */
export interface Leadership {
  /** Aborted when the term ends, before anybody else can take the lease. */
  readonly signal: AbortSignal;
  /**
   * Is the lease ours at this moment, by the clock? After a frozen process
   * thaws, its timers are late: this is right at once, the signal a moment later.
   */
  isCurrent(): boolean;
}

export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly leaseName: string;
  /** Unique to this process, not only to the host: the pod's name with a random suffix. */
  readonly identity: string;
  /** Another may take the lease so long after the last renewal, in ms. Default 15 s. */
  readonly leaseDurationMs?: number | undefined;
  /** We stop leading so long after the start of the last renewal that succeeded, in ms. Default 10 s. */
  readonly renewDeadlineMs?: number | undefined;
  /** Time between renewals, and between attempts to take the lease, in ms. Default 2 s. */
  readonly retryPeriodMs?: number | undefined;
  /** The work of the leader. It must settle soon after the signal is aborted. */
  readonly onStartedLeading: (signal: AbortSignal, leadership: Leadership) => Promise<void>;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly signal: AbortSignal;
}

/** The reason of the leader's signal when the lease was lost. */
export class LeadershipLostError extends Error {
  override readonly name = "LeadershipLostError";
}

interface Settings {
  readonly options: LeaderElectionOptions;
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryPeriodMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * At most one of all processes that call this on one Lease works at a time.
 *
 * Why never two: a leader stops `renewDeadlineMs` after the moment at which it
 * *began* its last successful renewal; another takes the lease only after it
 * has itself *seen* no renewal for the longer `leaseDurationMs`, measured from
 * when it first saw the last one, which is later. Only durations on one's own
 * clock count, so the hosts' clocks may differ. Every write carries the
 * resourceVersion that it was decided on, so of two takers one gets a conflict.
 * What remains is a request that is on its way when the term ends: see
 * fenceWrites, and keep the difference of the two times above a round trip.
 *
 * Returns after the signal was aborted, the work has settled and the lease was
 * given back. After a loss it takes part again. Rejects with the work's error.
 */
export const runLeaderElection = async (options: LeaderElectionOptions): Promise<void> => {
  const settings = readSettings(options);
  while (!options.signal.aborted) {
    const term = await campaign(settings);
    if (term === undefined) return;
    const ending = await lead(settings, term);
    if (ending === "finished") return;
  }
};

const readSettings = (options: LeaderElectionOptions): Settings => {
  const { leaseDurationMs = 15_000, renewDeadlineMs = 10_000, retryPeriodMs = 2_000 } = options;
  if (!(leaseDurationMs > renewDeadlineMs && renewDeadlineMs > retryPeriodMs && retryPeriodMs > 0))
    throw new RangeError(
      `leader election: leaseDurationMs (${leaseDurationMs}) must exceed renewDeadlineMs (${renewDeadlineMs}), ` +
        `which must exceed retryPeriodMs (${retryPeriodMs}), which must be positive`,
    );
  const { clock = systemClock, random = Math.random } = options;
  return { options, leaseDurationMs, renewDeadlineMs, retryPeriodMs, clock, random };
};

/** The lease as we hold it. */
interface Term {
  lease: Lease;
  /** When the request that renewed it began. */
  renewedAt: Moment;
}

/** By both clocks: the monotonic one stands still while the machine sleeps, the wall clock may jump. */
interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

const momentOf = (clock: Clock): Moment => ({ monotonic: clock.monotonic(), wall: clock.now() });

/** The longer of the two, so that a doubt ends the term. */
const elapsedSince = (clock: Clock, moment: Moment): number =>
  Math.max(clock.monotonic() - moment.monotonic, clock.now() - moment.wall);

/** Tries until the lease is ours; undefined when aborted before. */
const campaign = async (settings: Settings): Promise<Term | undefined> => {
  const { options, clock, random, retryPeriodMs } = settings;
  const { signal, logger, identity } = options;
  const observe = createObserver(clock);
  while (!signal.aborted) {
    const renewedAt = momentOf(clock);
    try {
      const attempt = (within: AbortSignal) => tryTake(settings, observe, within);
      const lease = await withDeadline(signal, settings.renewDeadlineMs, attempt, clock);
      if (lease !== undefined) return { lease, renewedAt };
    } catch (error) {
      if (signal.aborted) return undefined;
      // Two took it at once, and the other was first.
      if (!isConflict(error)) logger.warn({ err: error, identity }, "could not try to become leader");
    }
    await sleep(clock, retryPeriodMs * (1 + 0.2 * random()), signal).catch(() => {});
  }
  return undefined;
};

/** For how long, in ms, has this observer seen this very state of the lease? */
const createObserver = (clock: Clock): ((lease: Lease) => number) => {
  let seen: { readonly state: string; readonly since: number } | undefined;
  return ({ metadata, spec }) => {
    const state = [metadata.uid, spec.holderIdentity, spec.renewTime, spec.leaseTransitions].join(" ");
    if (seen?.state !== state) seen = { state, since: clock.monotonic() };
    return clock.monotonic() - seen.since;
  };
};

const tryTake = async (
  settings: Settings,
  observe: (lease: Lease) => number,
  signal: AbortSignal,
): Promise<Lease | undefined> => {
  const { options, clock } = settings;
  const { client, namespace, leaseName: name, identity } = options;
  const found = await client.get(leases, { namespace, name }, { signal });
  const acquireTime = microTime(clock.now());
  if (found === undefined) {
    const spec = { ...holding(settings), acquireTime, leaseTransitions: 0 };
    return client.create(leases, { metadata: { namespace, name }, spec }, { signal });
  }
  const { holderIdentity = "", leaseDurationSeconds, leaseTransitions = 0 } = found.spec;
  const unchangedMs = observe(found);
  const isFree = holderIdentity === "" || holderIdentity === identity;
  const patienceMs = Math.max((leaseDurationSeconds ?? 0) * 1000, settings.leaseDurationMs);
  if (!isFree && unchangedMs < patienceMs) return undefined;
  const spec = { ...holding(settings), acquireTime, leaseTransitions: leaseTransitions + 1 };
  return writeLease(options, found, spec, signal);
};

const holding = ({ options, leaseDurationMs, clock }: Settings) => ({
  holderIdentity: options.identity,
  leaseDurationSeconds: leaseSeconds(leaseDurationMs),
  renewTime: microTime(clock.now()),
});

/** Writes only if nobody else wrote since. */
const writeLease = (
  { client }: LeaderElectionOptions,
  { metadata: { namespace, name, resourceVersion } }: Lease,
  spec: Lease["spec"],
  signal: AbortSignal,
): Promise<Lease> =>
  client.mergePatch(leases, { namespace, name }, { metadata: { resourceVersion }, spec }, { signal });

/** One term: works, and renews until the work has settled or the lease is lost. */
const lead = async (settings: Settings, term: Term): Promise<"lost" | "finished"> => {
  const { options, clock, renewDeadlineMs } = settings;
  const { logger, metrics, leaseName, identity } = options;
  const work = linkAbort(options.signal);
  // Separate from the work's signal: renewals go on while the work winds down.
  const renewals = new AbortController();
  const isCurrent = (): boolean =>
    !work.signal.aborted && elapsedSince(clock, term.renewedAt) < renewDeadlineMs;
  const leadership: Leadership = { signal: work.signal, isCurrent };
  logger.info({ lease: leaseName, identity }, "started leading");
  metrics?.leader.set({ lease: leaseName }, 1);
  const working = Promise.resolve()
    .then(() => options.onStartedLeading(work.signal, leadership))
    .finally(() => renewals.abort());
  const held = keepRenewing(settings, term, work, renewals.signal);
  try {
    await working;
  } catch (error) {
    if (!work.signal.aborted) throw error;
    if (error !== work.signal.reason) logger.warn({ err: error }, "the leader's work failed while it ended");
  } finally {
    const stillOurs = await held;
    work.unlink();
    metrics?.leader.set({ lease: leaseName }, 0);
    if (stillOurs) await release(settings, term);
    logger.info({ lease: leaseName, identity, lost: !stillOurs }, "stopped leading");
  }
  return (await held) ? "finished" : "lost";
};

/** Renews until `signal` (true: still ours) or until the lease is lost (false; the work is aborted). */
const keepRenewing = async (
  settings: Settings,
  term: Term,
  work: LinkedAbort,
  signal: AbortSignal,
): Promise<boolean> => {
  const { clock, renewDeadlineMs, retryPeriodMs } = settings;
  const attempt = linkAbort(signal);
  const lose = (why: string): void => {
    const reason = new LeadershipLostError(why);
    work.abort(reason);
    attempt.abort(reason);
  };
  const arm = (): (() => void) =>
    clock.after(renewDeadlineMs - elapsedSince(clock, term.renewedAt), () =>
      lose(`the lease was not renewed within ${renewDeadlineMs} ms`),
    );
  let disarm = arm();
  try {
    while (!attempt.signal.aborted) {
      await sleep(clock, retryPeriodMs, attempt.signal).catch(() => {});
      if (attempt.signal.aborted) break;
      const outcome = await renew(settings, term, attempt.signal);
      if (outcome === "taken") lose("another process holds the lease");
      disarm();
      disarm = arm();
    }
    return signal.aborted && !(attempt.signal.reason instanceof LeadershipLostError);
  } finally {
    disarm();
    attempt.unlink();
  }
};

/** One renewal. "failed" may be tried again until the deadline. */
const renew = async (
  settings: Settings,
  term: Term,
  signal: AbortSignal,
): Promise<"renewed" | "failed" | "taken"> => {
  const { options, clock, renewDeadlineMs } = settings;
  const startedAt = momentOf(clock);
  try {
    const spec = { ...term.lease.spec, ...holding(settings) };
    const attempt = (within: AbortSignal) => writeLease(options, term.lease, spec, within);
    const lease = await withDeadline(signal, renewDeadlineMs / 2, attempt, clock);
    Object.assign(term, { lease, renewedAt: startedAt });
    return "renewed";
  } catch (error) {
    if (signal.aborted) return "failed";
    options.logger.warn({ err: error, identity: options.identity }, "could not renew the lease");
    if (isNotFound(error)) return "taken";
    return isConflict(error) ? lookAgain(settings, term, signal) : "failed";
  }
};

/** The lease was written by somebody: perhaps by a renewal of ours whose answer was lost. */
const lookAgain = async (
  { options }: Settings,
  term: Term,
  signal: AbortSignal,
): Promise<"failed" | "taken"> => {
  const { client, namespace, leaseName: name, identity } = options;
  try {
    const lease = await client.get(leases, { namespace, name }, { signal });
    if (lease?.spec.holderIdentity !== identity) return "taken";
    term.lease = lease;
  } catch (error) {
    options.logger.warn({ err: error, identity }, "could not read the lease");
  }
  return "failed";
};

/** Gives the lease back, so that the next leader need not wait for it to run out. */
const release = async (settings: Settings, term: Term): Promise<void> => {
  const { options, clock, renewDeadlineMs } = settings;
  const leftMs = renewDeadlineMs - elapsedSince(clock, term.renewedAt);
  if (leftMs <= 0) return;
  const giveBack = (signal: AbortSignal): Promise<Lease> => {
    const spec = { ...term.lease.spec, holderIdentity: "", renewTime: microTime(clock.now()) };
    return writeLease(options, term.lease, spec, signal);
  };
  const attempt = async (signal: AbortSignal): Promise<void> => {
    try {
      await giveBack(signal);
    } catch (error) {
      // The end may have cut off a renewal that the server has done.
      if (!isConflict(error) || (await lookAgain(settings, term, signal)) === "taken") throw error;
      await giveBack(signal);
    }
  };
  try {
    // The caller's signal is aborted already; giving back has its own time.
    await withDeadline(new AbortController().signal, leftMs, attempt, clock);
  } catch (error) {
    options.logger.warn({ err: error }, "could not give the lease back; the next leader waits for its end");
  }
};

/**
 * A client that refuses to write once the term is over, for a process that was
 * frozen in the middle of its work and thaws after another has taken over.
 */
export const fenceWrites = (client: KubeClient, leadership: Leadership): KubeClient => {
  const ifCurrent = <R>(write: () => Promise<R>): Promise<R> =>
    leadership.isCurrent()
      ? write()
      : Promise.reject(new LeadershipLostError("not written: this process does not lead any more"));
  return {
    ...client,
    create: (resource, body, options) => ifCurrent(() => client.create(resource, body, options)),
    apply: (resource, body, options) => ifCurrent(() => client.apply(resource, body, options)),
    applyStatus: (resource, body, options) => ifCurrent(() => client.applyStatus(resource, body, options)),
    mergePatch: (resource, key, patch, options) =>
      ifCurrent(() => client.mergePatch(resource, key, patch, options)),
    delete: (resource, key, options) => ifCurrent(() => client.delete(resource, key, options)),
  };
};
