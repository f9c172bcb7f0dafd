import type { KubernetesObject } from "../api/meta.ts";
import { ApiError } from "./api-error.ts";
import type { Backoff } from "./backoff.ts";
import { systemClock, type Clock, type Random } from "./clock.ts";
import type { Logger } from "./logger.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import type { Change } from "./object-cache.ts";
import { formatKey, keyOf, parseKey, type ObjectKey } from "./object-key.ts";
import { StalledError, WaitingError } from "./reconcile-error.ts";
import type { Store } from "./store.ts";
import { createWorkQueue, type WorkResult } from "./work-queue.ts";

/** What a reconcile asks for when it went well. */
export type ReconcileResult =
  /** Nothing to do until something changes. */
  | { readonly kind: "done" }
  /** Look again after this time, in ms, whatever happens. */
  | { readonly kind: "requeue-after"; readonly ms: number };

/** Nothing to do until something changes. */
export const done: ReconcileResult = { kind: "done" };

/** Look again after `ms`. */
export const requeueAfter = (ms: number): ReconcileResult => ({ kind: "requeue-after", ms });

/**
 * Makes what the key names as it should be. It is not told what changed: it
 * looks at everything. It may be called at any time, for keys that are gone too.
 */
export type Reconcile = (key: ObjectKey, signal: AbortSignal) => Promise<ReconcileResult>;

/** A store whose changes matter, and whom they concern. */
export interface ControllerWatch<T extends KubernetesObject> {
  readonly store: Store<T>;
  /** The keys to reconcile after this change. Default: the object's own. Look at `before` too: it may have concerned others. */
  readonly map?: ((change: Change<T>) => readonly ObjectKey[]) | undefined;
}

export interface ControllerOptions<Kinds extends readonly KubernetesObject[]> {
  /** For logs and metrics. */
  readonly name: string;
  readonly reconcile: Reconcile;
  readonly watches: { readonly [I in keyof Kinds]: ControllerWatch<Kinds[I]> };
  /** Stores that reconcile reads without being called for their changes; it waits until they are synced too. */
  readonly reads?: readonly Store<KubernetesObject>[] | undefined;
  /** How many objects are reconciled at the same time. Default 4. */
  readonly workers?: number | undefined;
  /** After an error, per key. Default 200 ms doubling to 5 min. */
  readonly backoff?: Backoff | undefined;
  /** What logs call the object of a key. Default: namespace/name. */
  readonly describe?: ((key: ObjectKey) => string) | undefined;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

export interface Controller {
  /** Waits until all stores are synced, reconciles everything once, then what changes. Ends when aborted and idle. */
  run(signal: AbortSignal): Promise<void>;
  /** Asks for a reconcile for a reason that no store knows of. */
  enqueue(key: ObjectKey): void;
  enqueueAfter(key: ObjectKey, ms: number): void;
}

/**
 * Stores → keys → reconcile. The stores are run by whoever made them; several
 * controllers may share one.
 *
 * | reconcile ends with      | then                                              |
 * |--------------------------|---------------------------------------------------|
 * | done, requeue-after      | as it says; the key's failures are forgotten      |
 * | StalledError             | logged; nothing until something changes           |
 * | WaitingError             | again after its own delay                         |
 * | ApiError 409 (conflict)  | again after a back-off, without noise             |
 * | anything else            | logged; again after a back-off with jitter        |
 */
export const createController = <const Kinds extends readonly KubernetesObject[]>(
  options: ControllerOptions<Kinds>,
): Controller => {
  const { name, backoff, random } = options;
  const clock = options.clock ?? systemClock;
  const metrics = options.metrics ?? createMetrics();
  const queue = createWorkQueue<string>({
    name,
    workers: options.workers ?? 4,
    backoff,
    metrics,
    clock,
    random,
  });
  const watches: readonly ControllerWatch<KubernetesObject>[] = options.watches;
  const enqueue = (key: ObjectKey): void => queue.add(formatKey(key));

  const runOne = async (id: string, signal: AbortSignal): Promise<WorkResult> => {
    const startedAt = clock.monotonic();
    const outcome = await options
      .reconcile(parseKey(id), signal)
      .catch((error: unknown) => errorOutcome(error));
    metrics.reconcileSeconds.observe({ controller: name }, (clock.monotonic() - startedAt) / 1000);
    const verdict = judge(outcome);
    metrics.reconciles.inc({ controller: name, result: verdict.label });
    const object = (options.describe ?? formatKey)(parseKey(id));
    if (!signal.aborted) tell(options.logger.child({ object }), name, verdict, outcome);
    return verdict.result;
  };

  return {
    enqueue,
    enqueueAfter: (key, ms) => queue.addAfter(formatKey(key), ms),
    run: async (signal) => {
      const unsubscribes = watches.map((watch) => subscribe(watch, enqueue));
      try {
        const stores = [...watches.map((watch) => watch.store), ...(options.reads ?? [])];
        await Promise.all(stores.map((store) => store.whenSynced(signal)));
        await queue.run(runOne, signal);
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        for (const unsubscribe of unsubscribes) unsubscribe();
      }
    },
  };
};

/** From now on, and for everything that the store already has: for a new controller all of it is new. */
const subscribe = <T extends KubernetesObject>(
  { store, map = sameKey }: ControllerWatch<T>,
  enqueue: (key: ObjectKey) => void,
): (() => void) => {
  const onChange = (change: Change<T>): void => {
    for (const key of map(change)) enqueue(key);
  };
  const unsubscribe = store.onChange(onChange);
  for (const object of store.list()) onChange({ key: keyOf(object), after: object, unreadable: false });
  return unsubscribe;
};

/** The usual map: the object that changed. */
export const sameKey = (change: Change<KubernetesObject>): readonly ObjectKey[] => [change.key];

/**
 * Did more than the status change? A controller that reads no status of the
 * object filters with it, so that its own status writes do not call it again.
 */
export const isMoreThanStatus = ({ before, after }: Change<KubernetesObject>): boolean => {
  if (before === undefined || after === undefined || before.metadata.uid !== after.metadata.uid) return true;
  return besidesStatus(before) !== besidesStatus(after);
};

const besidesStatus = ({ metadata }: KubernetesObject): string =>
  JSON.stringify([
    // Kinds without a generation have no status either: every version counts.
    metadata.generation ?? metadata.resourceVersion,
    metadata.deletionTimestamp,
    metadata.finalizers,
    metadata.labels,
    metadata.annotations,
  ]);

type Outcome = ReconcileResult | { readonly kind: "error"; readonly error: unknown };

const errorOutcome = (error: unknown): Outcome => ({ kind: "error", error });

interface Verdict {
  readonly label: "done" | "requeued" | "stalled" | "waiting" | "conflict" | "error";
  readonly result: WorkResult;
}

const judge = (outcome: Outcome): Verdict => {
  if (outcome.kind === "done") return { label: "done", result: outcome };
  if (outcome.kind === "requeue-after") return { label: "requeued", result: outcome };
  const { error } = outcome;
  if (error instanceof StalledError) return { label: "stalled", result: { kind: "done" } };
  if (error instanceof WaitingError)
    return { label: "waiting", result: { kind: "requeue-after", ms: error.afterMs } };
  if (error instanceof ApiError && error.isConflict) return { label: "conflict", result: { kind: "retry" } };
  const atLeastMs = error instanceof ApiError ? error.retryAfterMs : undefined;
  return { label: "error", result: { kind: "retry", atLeastMs } };
};

const tell = (logger: Logger, controller: string, { label }: Verdict, outcome: Outcome): void => {
  if (outcome.kind !== "error") return;
  const fields = { controller, err: outcome.error };
  if (label === "error") logger.error(fields, "reconcile failed; trying again");
  else if (label === "stalled") logger.warn(fields, "reconcile is stalled until something changes");
  else logger.debug(fields, `reconcile: ${label}`);
};
