import { randomUUID } from "node:crypto";
import { isObject, mergePatch, type Json } from "./kube-api-flat.ts";
import { OwnershipConflict, applyConfiguration, noteUpdate, type Ownership } from "./kube-api-ownership.ts";

/** An answer with a Status. */
export class StatusError extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

export type StoredObject = Json & {
  readonly metadata: Json & { readonly name: string; readonly resourceVersion: string };
};

/** One write in the history. */
export interface HistoryEntry {
  readonly resourceVersion: number;
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly before: StoredObject | undefined;
  readonly after: StoredObject | undefined;
}

/** Names one object of a collection such as "vireo.dev/v1alpha1/virtualmachines". */
export interface Address {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string;
}

export type Subresource = "status" | undefined;

interface Stored {
  readonly object: StoredObject;
  readonly ownership: Ownership;
}

/** The API server's memory: objects, versions, the history for watches. Copies go in and out. */
export class FakeObjects {
  readonly #stored = new Map<string, Stored>();
  #history: HistoryEntry[] = [];
  #resourceVersion = 100;
  /** Watches from before this version are told 410. */
  #oldest = 100;
  readonly #listeners = new Set<(entry: HistoryEntry) => void>();

  get resourceVersion(): number {
    return this.#resourceVersion;
  }

  get(address: Address): StoredObject {
    const stored = this.#stored.get(idOf(address));
    if (stored === undefined)
      throw new StatusError(404, "NotFound", `${address.collection} "${address.name}" not found`);
    return structuredClone(stored.object);
  }

  /** In the order of their keys, as etcd has them. */
  list(collection: string, namespace: string | undefined): StoredObject[] {
    const prefix = namespace === undefined ? `${collection} ` : `${collection} ${namespace}/`;
    return [...this.#stored.entries()]
      .filter(([id]) => id.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { object }]) => structuredClone(object));
  }

  create(address: Address, body: Json, manager: string): StoredObject {
    if (this.#stored.has(idOf(address)))
      throw new StatusError(409, "AlreadyExists", `${address.collection} "${address.name}" already exists`);
    const ownership: Ownership = new Map();
    const object = this.#born(address, body);
    noteUpdate({}, object, ownership, manager);
    return this.#write(address, undefined, { object, ownership });
  }

  patch(address: Address, patch: Json, subresource: Subresource, manager: string): StoredObject {
    const stored = this.#existing(address);
    checkWrite(stored.object, patch, subresource);
    const merged = mergePatch(stored.object, patch) as Json;
    return this.#update(address, stored, merged, subresource, (next) =>
      noteUpdate(stored.object, next, stored.ownership, `${manager}/${subresource ?? ""}`),
    );
  }

  apply(
    address: Address,
    configuration: Json,
    subresource: Subresource,
    options: { readonly manager: string; readonly force: boolean },
  ): StoredObject {
    const existing = this.#stored.get(idOf(address));
    if (existing === undefined && subresource !== undefined)
      throw new StatusError(404, "NotFound", `${address.collection} "${address.name}" not found`);
    const stored = existing ?? { object: {} as StoredObject, ownership: new Map() };
    if (existing !== undefined) checkWrite(existing.object, configuration, subresource);
    const relevant = this.#hasStatus(address) ? withoutOther(configuration, subresource) : configuration;
    const ownership = structuredClone(stored.ownership);
    const request = {
      manager: `${options.manager}/${subresource ?? ""}`,
      configuration: relevant,
      force: options.force,
    };
    const next = tryApply(stored.object, ownership, request);
    if (existing === undefined)
      return this.#write(address, undefined, { object: this.#born(address, next), ownership });
    return this.#update(address, { ...stored, ownership }, next, subresource, () => {});
  }

  delete(address: Address, preconditions: Json): StoredObject {
    const stored = this.#existing(address);
    checkPreconditions(stored.object, preconditions);
    const { finalizers, deletionTimestamp } = stored.object.metadata;
    if (Array.isArray(finalizers) && finalizers.length > 0) {
      if (deletionTimestamp !== undefined) return structuredClone(stored.object);
      const metadata = { ...stored.object.metadata, deletionTimestamp: now() };
      return this.#write(address, stored, { ...stored, object: { ...stored.object, metadata } });
    }
    return this.#write(address, stored, undefined);
  }

  /** The writes after that version; throws 410 when they are forgotten. */
  since(resourceVersion: number): readonly HistoryEntry[] {
    if (resourceVersion < this.#oldest)
      throw new StatusError(410, "Expired", `too old resource version: ${resourceVersion} (${this.#oldest})`);
    return this.#history.filter((entry) => entry.resourceVersion > resourceVersion);
  }

  /** Forgets the history, as etcd's compaction does. */
  compact(): void {
    this.#history = [];
    this.#resourceVersion += 1;
    this.#oldest = this.#resourceVersion;
  }

  onWrite(listener: (entry: HistoryEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #existing(address: Address): Stored {
    this.get(address);
    return this.#stored.get(idOf(address)) as Stored;
  }

  /** Custom resources have a status subresource; the built-in kinds used here do not. */
  #hasStatus({ collection }: Address): boolean {
    const group = collection.split("/").slice(0, -2).join("/");
    return group !== "" && !group.endsWith("k8s.io");
  }

  #born(address: Address, body: Json): StoredObject {
    const { status, ...rest } = body;
    const metadata = {
      ...(isObject(body["metadata"]) ? body["metadata"] : {}),
      name: address.name,
      ...(address.namespace !== undefined && { namespace: address.namespace }),
      uid: randomUUID(),
      creationTimestamp: now(),
      ...(this.#hasStatus(address) && { generation: 1 }),
    };
    const kept = this.#hasStatus(address) || status === undefined ? rest : { ...rest, status };
    return structuredClone({ ...kept, metadata }) as unknown as StoredObject;
  }

  #update(
    address: Address,
    stored: Stored,
    wanted: Json,
    subresource: Subresource,
    note: (next: Json) => void,
  ): StoredObject {
    const next = this.#hasStatus(address) ? confine(stored.object, wanted, subresource) : wanted;
    const metadata = {
      ...(isObject(next["metadata"]) ? next["metadata"] : {}),
      ...identityOf(stored.object),
    };
    const object = { ...next, metadata } as unknown as StoredObject;
    note(object);
    const isDying = object.metadata["deletionTimestamp"] !== undefined;
    const { finalizers } = object.metadata;
    const isReleased = !Array.isArray(finalizers) || finalizers.length === 0;
    if (isDying && isReleased) return this.#write(address, stored, undefined);
    if (sameContent(stored.object, object)) {
      this.#stored.set(idOf(address), { ...stored, object: stored.object });
      return structuredClone(stored.object);
    }
    const changedSpec = this.#hasStatus(address) && !sameContent(specOf(stored.object), specOf(object));
    const generation = Number(stored.object.metadata["generation"]) + (changedSpec ? 1 : 0);
    const complete = this.#hasStatus(address) ? { ...object, metadata: { ...metadata, generation } } : object;
    return this.#write(address, stored, {
      object: complete as unknown as StoredObject,
      ownership: stored.ownership,
    });
  }

  #write(address: Address, before: Stored | undefined, after: Stored | undefined): StoredObject {
    this.#resourceVersion += 1;
    const stamped = (after ?? before)?.object as StoredObject;
    const metadata = {
      ...stamped.metadata,
      resourceVersion: String(this.#resourceVersion),
      managedFields: [{ manager: "fake", operation: "Update", fieldsV1: {} }],
    };
    const object = structuredClone({ ...stamped, metadata }) as unknown as StoredObject;
    if (after === undefined) this.#stored.delete(idOf(address));
    else this.#stored.set(idOf(address), { object, ownership: after.ownership });
    const entry: HistoryEntry = {
      resourceVersion: this.#resourceVersion,
      collection: address.collection,
      namespace: address.namespace,
      before: before === undefined ? undefined : after === undefined ? object : before.object,
      after: after === undefined ? undefined : object,
    };
    this.#history.push(entry);
    for (const listener of this.#listeners) listener(entry);
    return structuredClone(object);
  }
}

const idOf = ({ collection, namespace, name }: Address): string =>
  `${collection} ${namespace === undefined ? name : `${namespace}/${name}`}`;

const now = (): string => `${new Date().toISOString().slice(0, 19)}Z`;

const tryApply = (
  current: Json,
  ownership: Ownership,
  request: Parameters<typeof applyConfiguration>[2],
): Json => {
  try {
    return applyConfiguration(current, ownership, request);
  } catch (error) {
    if (error instanceof OwnershipConflict)
      throw new StatusError(409, "Conflict", `Apply failed: ${error.message}`);
    throw error;
  }
};

/** A delete names what it wants to delete. */
const checkPreconditions = ({ metadata }: StoredObject, { resourceVersion, uid }: Json): void => {
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
    throw new StatusError(409, "Conflict", `the object has been modified (${metadata.resourceVersion})`);
  if (uid !== undefined && uid !== metadata["uid"])
    throw new StatusError(
      409,
      "Conflict",
      `Precondition failed: UID in precondition: ${JSON.stringify(uid)}`,
    );
};

/** A write names the version that it was decided on; its uid is looked at as a field, and not at all for a status. */
const checkWrite = ({ metadata }: StoredObject, body: Json, subresource: Subresource): void => {
  const { resourceVersion, uid } = isObject(body["metadata"]) ? body["metadata"] : {};
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
    throw new StatusError(409, "Conflict", `the object has been modified (${metadata.resourceVersion})`);
  if (subresource === undefined && uid !== undefined && uid !== metadata["uid"])
    throw new StatusError(
      422,
      "Invalid",
      `metadata.uid: Invalid value: ${JSON.stringify(uid)}: field is immutable`,
    );
};

/** Of the parts of an object, those that a write there may change. */
const confine = (current: Json, wanted: Json, subresource: Subresource): Json => {
  const [base, status] = subresource === "status" ? [current, wanted["status"]] : [wanted, current["status"]];
  const { status: _, ...rest } = base;
  return status === undefined ? rest : { ...rest, status };
};

const withoutOther = (configuration: Json, subresource: Subresource): Json => {
  const { status, ...rest } = configuration;
  return subresource === "status" ? { status } : rest;
};

const identityOf = ({ metadata }: StoredObject): Json => {
  const {
    name,
    namespace,
    uid,
    creationTimestamp,
    deletionTimestamp,
    resourceVersion,
    generation,
    managedFields,
  } = metadata;
  const identity = {
    name,
    namespace,
    uid,
    creationTimestamp,
    deletionTimestamp,
    resourceVersion,
    generation,
    managedFields,
  };
  return Object.fromEntries(Object.entries(identity).filter(([, value]) => value !== undefined));
};

const specOf = ({ metadata: _m, status: _s, ...rest }: StoredObject): Json => rest;

const sameContent = (a: Json, b: Json): boolean => canonical(a) === canonical(b);

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, member: unknown) =>
    isObject(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
