import type { KubernetesObject } from "../api/meta.ts";
import { ObjectParseError, type RawObject } from "./object-codec.ts";
import { formatKey, keyOf, type ObjectKey } from "./object-key.ts";
import { StalledError } from "./reconcile-error.ts";

/** What happened to one object. Several changes may arrive as one, a deletion and re-creation too: compare uids. */
export interface Change<T> {
  readonly key: ObjectKey;
  /** The last readable version before; absent when the object is new. */
  readonly before?: T;
  /** The version now; absent when the object is gone or unreadable. */
  readonly after?: T;
  /** The object exists, but cannot be understood: it is NOT gone, and nothing is to be torn down for it. */
  readonly unreadable: boolean;
}

/** An object that exists but does not fit its schema. */
export interface UnreadableObject {
  readonly key: ObjectKey;
  /** Absent only if the server did not send one. */
  readonly uid: string | undefined;
  readonly resourceVersion: string;
  /** What does not fit, in a sentence. */
  readonly message: string;
}

/** Asked for an object that exists but cannot be understood. As a StalledError it ends a reconcile without a retry. */
export class UnreadableObjectError extends StalledError {
  override readonly name = "UnreadableObjectError";

  constructor(message: string) {
    super("Unreadable", `${message}; it is left as it is until it changes`);
  }
}

export type IndexFunctions<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

export interface ObjectCacheOptions<T> {
  readonly decode: (raw: RawObject) => T;
  readonly indexes: IndexFunctions<T>;
}

interface Entry<T> {
  readonly key: ObjectKey;
  readonly resourceVersion: string;
  /** The last readable version, also while `error` is set. */
  readonly object?: T;
  readonly error?: ObjectParseError;
  readonly uid: string | undefined;
}

/** The objects of one kind by key, with indexes: memory and nothing else, so that it can be tested to the bottom. */
export class ObjectCache<T extends KubernetesObject> {
  readonly #options: ObjectCacheOptions<T>;
  readonly #entries = new Map<string, Entry<T>>();
  /** index name -> value -> ids */
  readonly #indexes = new Map<string, Map<string, Set<string>>>();
  readonly #unreadable = new Set<string>();
  /** The answer of list(), until something changes. */
  #listed: readonly T[] | undefined;

  constructor(options: ObjectCacheOptions<T>) {
    this.#options = options;
    for (const name of Object.keys(options.indexes)) this.#indexes.set(name, new Map());
  }

  /** Makes the cache equal to these objects. */
  replace(items: readonly RawObject[]): Change<T>[] {
    const gone = new Set(this.#entries.keys());
    const changes: (Change<T> | undefined)[] = [];
    for (const raw of items) {
      gone.delete(formatKey(keyOf(raw)));
      changes.push(this.upsert(raw));
    }
    for (const id of gone) changes.push(this.#removeId(id));
    return changes.filter((change) => change !== undefined);
  }

  /** Takes an object in; undefined when this version is known already. */
  upsert(raw: RawObject): Change<T> | undefined {
    const key = keyOf(raw);
    const { resourceVersion = "", uid } = raw.metadata;
    const known = this.#entries.get(formatKey(key));
    if (known !== undefined && known.resourceVersion === resourceVersion) return undefined;
    const before = known?.object;
    const decoded = this.#decode(raw);
    if ("error" in decoded) {
      this.#put({ key, uid, resourceVersion, error: decoded.error, ...(before && { object: before }) });
      return { key, unreadable: true, ...(before && { before }) };
    }
    this.#put({ key, uid, resourceVersion, object: decoded.object });
    return { key, unreadable: false, after: decoded.object, ...(before && { before }) };
  }

  /** Forgets an object; undefined when it is not known. */
  remove(key: ObjectKey): Change<T> | undefined {
    return this.#removeId(formatKey(key));
  }

  /** The object; undefined when there is none. Throws UnreadableObjectError when it exists and cannot be understood. */
  get(key: ObjectKey): T | undefined {
    const entry = this.#entries.get(formatKey(key));
    if (entry?.error !== undefined) throw new UnreadableObjectError(entry.error.message);
    return entry?.object;
  }

  /** All readable objects. */
  list(): readonly T[] {
    this.#listed ??= Object.freeze([...this.#entries.values()].flatMap(readable));
    return this.#listed;
  }

  /** The readable objects for which the index function gave this value. */
  byIndex(index: string, value: string): readonly T[] {
    const values = this.#indexes.get(index);
    if (values === undefined)
      throw new TypeError(
        `no index named ${index}; there are: ${[...this.#indexes.keys()].join(", ") || "none"}`,
      );
    return [...(values.get(value) ?? [])].flatMap((id) => {
      const entry = this.#entries.get(id);
      return entry === undefined ? [] : readable(entry);
    });
  }

  unreadable(): readonly UnreadableObject[] {
    return [...this.#unreadable].flatMap((id) => {
      const entry = this.#entries.get(id);
      if (entry?.error === undefined) return [];
      const { key, uid, resourceVersion, error } = entry;
      return [{ key, uid, resourceVersion, message: error.message }];
    });
  }

  get size(): number {
    return this.#entries.size - this.#unreadable.size;
  }

  get unreadableCount(): number {
    return this.#unreadable.size;
  }

  #decode(raw: RawObject): { object: T } | { error: ObjectParseError } {
    try {
      return { object: this.#options.decode(raw) };
    } catch (error) {
      if (error instanceof ObjectParseError) return { error };
      throw error;
    }
  }

  #put(entry: Entry<T>): void {
    const id = formatKey(entry.key);
    this.#unindex(id);
    this.#entries.set(id, entry);
    this.#listed = undefined;
    if (entry.error === undefined) this.#index(id, entry);
    else this.#unreadable.add(id);
  }

  #removeId(id: string): Change<T> | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    this.#unindex(id);
    this.#entries.delete(id);
    this.#listed = undefined;
    return { key: entry.key, unreadable: false, ...(entry.object && { before: entry.object }) };
  }

  #index(id: string, entry: Entry<T>): void {
    for (const object of readable(entry))
      for (const [name, valuesOf] of Object.entries(this.#options.indexes))
        for (const value of valuesOf(object)) this.#idsOf(name, value).add(id);
  }

  #idsOf(name: string, value: string): Set<string> {
    const values = this.#indexes.get(name) ?? new Map<string, Set<string>>();
    const ids = values.get(value) ?? new Set<string>();
    values.set(value, ids);
    this.#indexes.set(name, values);
    return ids;
  }

  #unindex(id: string): void {
    this.#unreadable.delete(id);
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    for (const object of readable(entry))
      for (const [name, valuesOf] of Object.entries(this.#options.indexes))
        for (const value of valuesOf(object)) this.#drop(name, value, id);
  }

  #drop(name: string, value: string, id: string): void {
    const values = this.#indexes.get(name);
    const ids = values?.get(value);
    ids?.delete(id);
    if (ids?.size === 0) values?.delete(value);
  }
}

const readable = <T>(entry: Entry<T>): readonly T[] =>
  entry.error === undefined && entry.object !== undefined ? [entry.object] : [];
