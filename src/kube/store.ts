import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { untilAborted } from "./abort.ts";
import type { KubeClient, Selection } from "./client.ts";
import { systemClock, type Clock, type Random } from "./clock.ts";
import type { Logger } from "./logger.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { ObjectCache, type Change, type IndexFunctions, type UnreadableObject } from "./object-cache.ts";
import { decodeObject, type RawObject } from "./object-codec.ts";
import { formatKey, keyOf, type ObjectKey } from "./object-key.ts";
import { createReflector, defaultReflectorTimings, type ReflectorTimings } from "./reflector.ts";
import { isAtLeast } from "./resource-version.ts";
import type { WatchEvent } from "./watch-stream.ts";

/**
 * A live, read-only copy of one kind (docs/design/kube.md has the rules).
 *
 * Objects that exist but do not fit their schema are unknown, not gone: list()
 * and byIndex() leave them out, get() throws, unreadable() names them. Whoever
 * removes what is not in list() must leave alone what unreadable() names.
 */
export interface Store<T extends KubernetesObject> {
  /** Keeps the copy fresh until the signal is aborted; survives whatever the server does. Call it once. */
  run(signal: AbortSignal): Promise<void>;
  /** Has everything that exists been read once? Before that, absence means nothing. */
  readonly synced: boolean;
  /** Resolves when synced. */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** The object, or undefined. Throws UnreadableObjectError, which stalls a reconcile, when it cannot be understood. */
  get(key: ObjectKey): T | undefined;
  /** All objects; the same array until something changes. */
  list(): readonly T[];
  /** The objects for which that index function gave this value. */
  byIndex(index: string, value: string): readonly T[];
  /** The objects that exist but cannot be understood. */
  unreadable(): readonly UnreadableObject[];
  /** Calls back after each change; the returned function ends that. */
  onChange(listener: (change: Change<T>) => void): () => void;
  /**
   * Resolves when the store is at this version or newer: read your own writes.
   * An object that the selectors leave out is waited for until the next bookmark, about a minute.
   */
  whenSeen(resourceVersion: string, signal: AbortSignal): Promise<void>;
}

export interface StoreOptions<T extends KubernetesObject> extends Selection {
  readonly client: KubeClient;
  readonly resource: Resource<T>;
  /** Values under which byIndex finds an object, by the index's name. Pure functions. */
  readonly indexes?: IndexFunctions<T> | undefined;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly timings?: Partial<ReflectorTimings> | undefined;
}

export const createStore = <T extends KubernetesObject>(options: StoreOptions<T>): Store<T> => {
  const { client, resource, namespace, labelSelector, fieldSelector } = options;
  const mirror = new Mirror(options);
  const reflector = createReflector({
    client,
    resource,
    selection: { namespace, labelSelector, fieldSelector },
    sink: mirror,
    logger: options.logger,
    metrics: options.metrics ?? createMetrics(),
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
    timings: { ...defaultReflectorTimings, ...options.timings },
  });
  return {
    run: (signal) => reflector.run(signal),
    get synced() {
      return mirror.resourceVersion !== undefined;
    },
    whenSynced: (signal) => mirror.whenSeen(undefined, signal),
    get: (key) => mirror.cache.get(key),
    list: () => mirror.cache.list(),
    byIndex: (index, value) => mirror.cache.byIndex(index, value),
    unreadable: () => mirror.cache.unreadable(),
    onChange: (listener) => mirror.onChange(listener),
    whenSeen: (resourceVersion, signal) => mirror.whenSeen(resourceVersion, signal),
  };
};

interface Waiter {
  /** Undefined: any version. */
  readonly resourceVersion: string | undefined;
  readonly resolve: () => void;
}

/** The reflector's sink: cache, listeners and those who wait for a version. */
class Mirror<T extends KubernetesObject> {
  readonly cache: ObjectCache<T>;
  /** The newest version seen; undefined before the first list. */
  resourceVersion: string | undefined;
  readonly #options: StoreOptions<T>;
  readonly #listeners = new Set<(change: Change<T>) => void>();
  readonly #waiters = new Set<Waiter>();

  constructor(options: StoreOptions<T>) {
    this.#options = options;
    const decode = (raw: RawObject): T => decodeObject(options.resource, raw);
    this.cache = new ObjectCache({ decode, indexes: options.indexes ?? {} });
  }

  replace(items: readonly RawObject[], resourceVersion: string): void {
    this.#publish(this.cache.replace(items), resourceVersion);
  }

  apply(event: WatchEvent): void {
    this.#publish([this.#change(event)], event.resourceVersion);
  }

  onChange(listener: (change: Change<T>) => void): () => void {
    // Wrapped, so that the same function subscribed twice is two subscriptions.
    const subscription = (change: Change<T>): void => listener(change);
    this.#listeners.add(subscription);
    return () => this.#listeners.delete(subscription);
  }

  async whenSeen(resourceVersion: string | undefined, signal: AbortSignal): Promise<void> {
    if (this.#hasSeen(resourceVersion)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { resourceVersion, resolve };
    this.#waiters.add(waiter);
    try {
      await untilAborted(promise, signal);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  #hasSeen(resourceVersion: string | undefined): boolean {
    if (this.resourceVersion === undefined) return false;
    return resourceVersion === undefined || isAtLeast(this.resourceVersion, resourceVersion);
  }

  #change(event: WatchEvent): Change<T> | undefined {
    if (event.kind === "bookmark") return undefined;
    return event.kind === "deleted"
      ? this.cache.remove(keyOf(event.object))
      : this.cache.upsert(event.object);
  }

  /** The cache is complete before anybody hears of it. */
  #publish(changes: readonly (Change<T> | undefined)[], resourceVersion: string): void {
    this.resourceVersion = resourceVersion;
    for (const change of changes) if (change !== undefined) this.#notify(change);
    const { metrics, resource } = this.#options;
    metrics?.storeObjects.set({ kind: resource.kind }, this.cache.size);
    metrics?.storeUnreadable.set({ kind: resource.kind }, this.cache.unreadableCount);
    for (const waiter of this.#waiters) if (this.#hasSeen(waiter.resourceVersion)) waiter.resolve();
  }

  #notify(change: Change<T>): void {
    if (change.unreadable) this.#complain(change.key);
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        const fields = { object: formatKey(change.key), kind: this.#options.resource.kind, err: error };
        this.#options.logger.error(fields, "a listener of the store threw; the change is lost to it");
      }
    }
  }

  /** Once per version, since a known version is no change. */
  #complain(key: ObjectKey): void {
    const found = this.cache.unreadable().find((candidate) => formatKey(candidate.key) === formatKey(key));
    const fields = { object: formatKey(key), kind: this.#options.resource.kind };
    const why = found?.message ?? "the object cannot be read";
    this.#options.logger.error(fields, `${why}; it is left as it is until it changes`);
  }
}
