import type { KubernetesObject } from "../api/meta.ts";
import { apiVersionOf, type Resource } from "../api/resource.ts";
import { withDeadline } from "./abort.ts";
import { ApiError, TransportError, isNotFound, readStatus } from "./api-error.ts";
import { systemClock, type Clock } from "./clock.ts";
import type { KubeConfig } from "./kube-config.ts";
import type { Metrics } from "./metrics.ts";
import { asRawObject, decodeObject, type RawObject } from "./object-codec.ts";
import { formatKey, type ObjectKey } from "./object-key.ts";
import { collectionPath, objectPath, withQuery, type Query } from "./resource-path.ts";
import { createTransport, type Transport, type TransportRequest } from "./transport.ts";
import { linesOf, parseWatchLine, type WatchEvent } from "./watch-stream.ts";

export interface Abortable {
  readonly signal: AbortSignal;
}

/** Which objects of a kind. */
export interface Selection {
  /** Default: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface WatchOptions extends Selection, Abortable {
  /** Events after this version. Undefined: all that exists first, as added events. */
  readonly resourceVersion?: string | undefined;
  /** Ask for what exists and a bookmark when that is complete (watch-list). */
  readonly sendInitialEvents?: boolean | undefined;
  /** The server ends the watch after this time. */
  readonly timeoutSeconds: number;
  /** Silence longer than this ends the watch with an error; the server sends a bookmark about once a minute. */
  readonly idleTimeoutMs: number;
}

export interface ApplyOptions extends Abortable {
  /** Who owns the fields in the body. A field that this owner applied before and leaves out now is removed. */
  readonly fieldManager: string;
  /** Take fields over from other owners instead of failing with a conflict. Default false. */
  readonly force?: boolean | undefined;
}

export interface GetOptions extends Abortable {
  readonly subresource?: string | undefined;
}

export interface MergePatchOptions extends Abortable {
  /** approval: of a CertificateSigningRequest. */
  readonly subresource?: "status" | "approval" | undefined;
}

export interface DeleteOptions extends Abortable {
  /** Only if the object still is this one; otherwise a conflict. */
  readonly uid?: string | undefined;
  /** Only if the object did not change since; otherwise a conflict. */
  readonly resourceVersion?: string | undefined;
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan" | undefined;
}

/** An object to be written. apiVersion and kind are filled in. */
export interface WritableObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string | undefined;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/**
 * The Kubernetes API, typed by Resource. Every object that comes out is parsed,
 * deeply frozen and without managedFields.
 *
 * Rejects with ApiError when the server refuses, with TransportError when no
 * usable answer came (the outcome of a write is then unknown), with
 * ObjectParseError when the object does not fit its schema, and with the
 * signal's reason when that was aborted. Nothing is retried here.
 */
export interface KubeClient {
  /** The object, or the subresource of it that the Resource describes; undefined when there is none. */
  get<T extends KubernetesObject>(
    resource: Resource<T>,
    key: ObjectKey,
    options: GetOptions,
  ): Promise<T | undefined>;
  /** All selected objects at one moment, read in pages. */
  list<T extends KubernetesObject>(
    resource: Resource<T>,
    options: Selection & Abortable,
  ): Promise<{ readonly items: readonly T[]; readonly resourceVersion: string }>;
  /** As list, but not parsed: for the store, which survives an object that does not fit. */
  listRaw(
    resource: Resource,
    options: Selection & Abortable,
  ): Promise<{ readonly items: readonly RawObject[]; readonly resourceVersion: string }>;
  /** The changes as they come; ends when the server ends it. For the store. */
  watch(resource: Resource, options: WatchOptions): AsyncGenerator<WatchEvent>;
  create<T extends KubernetesObject>(
    resource: Resource<T>,
    body: WritableObject,
    options: Abortable,
  ): Promise<T>;
  /**
   * Server-side apply of the main resource. metadata.resourceVersion in the body makes this and every other
   * write conditional: a conflict when somebody wrote since.
   */
  apply<T extends KubernetesObject>(
    resource: Resource<T>,
    body: WritableObject,
    options: ApplyOptions,
  ): Promise<T>;
  /** Server-side apply of the status subresource. The server ignores a uid here; the resourceVersion it heeds. */
  applyStatus<T extends KubernetesObject>(
    resource: Resource<T>,
    body: WritableObject,
    options: ApplyOptions,
  ): Promise<T>;
  /** JSON merge patch (RFC 7386). */
  mergePatch<T extends KubernetesObject>(
    resource: Resource<T>,
    key: ObjectKey,
    patch: Readonly<Record<string, unknown>>,
    options: MergePatchOptions,
  ): Promise<T>;
  /** Asks for deletion; that the object is not there is success. */
  delete(resource: Resource, key: ObjectKey, options: DeleteOptions): Promise<void>;
  /** Breaks all connections; for the end of the program. */
  close(): Promise<void>;
}

export interface KubeClientOptions {
  readonly kubeConfig: KubeConfig;
  readonly metrics?: Metrics | undefined;
  /** Default "vireo". */
  readonly userAgent?: string | undefined;
  /** Deadline of every request but watches, in ms. Default 30 s. */
  readonly requestTimeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

const PAGE_SIZE = 500;

type Call = (
  verb: string,
  resource: Resource,
  key: ObjectKey | undefined,
  request: CallRequest,
) => Promise<unknown>;
type CallRequest = Omit<TransportRequest, "idleTimeoutMs" | "contentType"> & {
  readonly contentType?: string;
};

export const createKubeClient = (options: KubeClientOptions): KubeClient => {
  const clock = options.clock ?? systemClock;
  const transport = createTransport({
    kubeConfig: options.kubeConfig,
    userAgent: options.userAgent ?? "vireo",
    clock,
  });
  const call = createCall(transport, options, clock);
  return { ...readVerbs(call, transport, options), ...writeVerbs(call), close: () => transport.close() };
};

/** One request with its deadline, its errors in words, and its metrics. */
const createCall = (transport: Transport, options: KubeClientOptions, clock: Clock): Call => {
  const timeoutMs = options.requestTimeoutMs ?? 30_000;
  return async (verb, resource, key, request) => {
    const what = describe(verb, resource, key);
    const startedAt = clock.monotonic();
    const count = (code: string): void => {
      options.metrics?.apiRequests.inc({ verb, kind: resource.kind, code });
      options.metrics?.apiRequestSeconds.observe(
        { verb, kind: resource.kind },
        (clock.monotonic() - startedAt) / 1000,
      );
    };
    try {
      const answer = await withDeadline(request.signal, timeoutMs, async (signal) => {
        const response = await transport.send({ ...request, signal, idleTimeoutMs: timeoutMs });
        return { response, text: await response.body.text() };
      });
      count(String(answer.response.statusCode));
      return readAnswer(what, answer.response, answer.text);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      count("error");
      throw failure(what, request.signal, error);
    }
  };
};

const describe = (verb: string, resource: Resource, key: ObjectKey | undefined): string =>
  key === undefined ? `${verb} ${resource.plural}` : `${verb} ${resource.kind} ${formatKey(key)}`;

const failure = (what: string, signal: AbortSignal, error: unknown): unknown => {
  if (signal.aborted) return signal.reason;
  return error instanceof TransportError ? error : new TransportError(what, error);
};

interface Answer {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

const readAnswer = (what: string, answer: Answer, text: string): unknown => {
  if (answer.statusCode >= 400) throw refusal(what, answer, text);
  const value = parseJson(text);
  if (value === undefined)
    throw new TransportError(what, new Error(`the answer is not JSON: ${text.slice(0, 80)}`));
  return value;
};

const refusal = (what: string, answer: Answer, text: string): ApiError => {
  const status = readStatus(parseJson(text));
  const header = Number(answer.headers["retry-after"]);
  return new ApiError(what, answer.statusCode, {
    ...status,
    message: status.message ?? text.slice(0, 200),
    retryAfterMs: header > 0 ? header * 1000 : status.retryAfterMs,
  });
};

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const readVerbs = (call: Call, transport: Transport, options: KubeClientOptions) => {
  const listRaw: KubeClient["listRaw"] = async (resource, selection) => {
    try {
      return await listPages(call, resource, selection, PAGE_SIZE);
    } catch (error) {
      // The history was compacted between two pages; one big page cannot meet that.
      if (!(error instanceof ApiError && error.isExpired)) throw error;
      return listPages(call, resource, selection, undefined);
    }
  };
  return {
    get: async (resource, key, { signal, subresource }) => {
      try {
        const path = objectPath(resource, key, subresource);
        return decode(resource, await call("get", resource, key, { method: "GET", path, signal }));
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    list: async (resource, selection) => {
      const { items, resourceVersion } = await listRaw(resource, selection);
      return { items: items.map((item) => decodeObject(resource, item)), resourceVersion };
    },
    listRaw,
    watch: (resource, watchOptions) => watchEvents(transport, options, resource, watchOptions),
  } satisfies Partial<KubeClient>;
};

const selectionQuery = (selection: Selection): Query => ({
  labelSelector: selection.labelSelector,
  fieldSelector: selection.fieldSelector,
});

const listPages = async (
  call: Call,
  resource: Resource,
  selection: Selection & Abortable,
  limit: number | undefined,
): Promise<{ items: RawObject[]; resourceVersion: string }> => {
  const items: RawObject[] = [];
  let next: string | undefined;
  for (;;) {
    const query = { ...selectionQuery(selection), limit, continue: next };
    const path = withQuery(collectionPath(resource, selection.namespace), query);
    const page = readPage(
      resource,
      await call("list", resource, undefined, { method: "GET", path, signal: selection.signal }),
    );
    for (const item of page.items) items.push(item);
    if (page.next === undefined) return { items, resourceVersion: page.resourceVersion };
    next = page.next;
  }
};

const readPage = (
  resource: Resource,
  raw: unknown,
): { items: RawObject[]; resourceVersion: string; next: string | undefined } => {
  const { metadata, items } = raw as { metadata?: Record<string, unknown>; items?: unknown };
  const resourceVersion = metadata?.["resourceVersion"];
  if (typeof resourceVersion !== "string" || !(Array.isArray(items) || items === null))
    throw new TransportError(`list ${resource.plural}`, new Error("the answer is not a list"));
  const next = metadata?.["continue"];
  return {
    items: (items ?? []).map((item: unknown) => rawOrThrow(`list ${resource.plural}`, item)),
    resourceVersion,
    next: typeof next === "string" && next !== "" ? next : undefined,
  };
};

const rawOrThrow = (what: string, value: unknown): RawObject => {
  const raw = asRawObject(value);
  if (raw === undefined)
    throw new TransportError(what, new Error("the answer holds something without a name"));
  return raw;
};

const decode = <T extends KubernetesObject>(resource: Resource<T>, value: unknown): T =>
  decodeObject(resource, rawOrThrow(`read ${resource.kind}`, value));

async function* watchEvents(
  transport: Transport,
  { metrics }: KubeClientOptions,
  resource: Resource,
  options: WatchOptions,
): AsyncGenerator<WatchEvent> {
  const what = describe("watch", resource, undefined);
  try {
    const { signal, idleTimeoutMs } = options;
    const response = await transport.send({
      method: "GET",
      path: watchPath(resource, options),
      signal,
      idleTimeoutMs,
    });
    metrics?.apiRequests.inc({ verb: "watch", kind: resource.kind, code: String(response.statusCode) });
    if (response.statusCode !== 200) throw refusal(what, response, await response.body.text());
    for await (const line of linesOf(response.body)) yield parseWatchLine(what, line);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    metrics?.apiRequests.inc({ verb: "watch", kind: resource.kind, code: "error" });
    throw failure(what, options.signal, error);
  }
}

const watchPath = (resource: Resource, options: WatchOptions): string =>
  withQuery(collectionPath(resource, options.namespace), {
    ...selectionQuery(options),
    watch: true,
    allowWatchBookmarks: true,
    resourceVersion: options.resourceVersion,
    ...(options.sendInitialEvents === true && {
      sendInitialEvents: true,
      resourceVersionMatch: "NotOlderThan",
    }),
    timeoutSeconds: options.timeoutSeconds,
  });

const writeVerbs = (call: Call) => {
  const applyAt = async <T extends KubernetesObject>(
    resource: Resource<T>,
    body: WritableObject,
    { fieldManager, force, signal }: ApplyOptions,
    subresource?: "status",
  ): Promise<T> => {
    const path = withQuery(objectPath(resource, body.metadata, subresource), { fieldManager, force });
    const contentType = "application/apply-patch+yaml";
    const request = { method: "PATCH", path, body: toJson(resource, body), contentType, signal } as const;
    const verb = subresource === undefined ? "apply" : "apply-status";
    return decode(resource, await call(verb, resource, body.metadata, request));
  };
  return {
    create: async (resource, body, { signal }) => {
      const path = collectionPath(resource, body.metadata.namespace);
      const request = {
        method: "POST",
        path,
        body: toJson(resource, body),
        contentType: "application/json",
        signal,
      } as const;
      return decode(resource, await call("create", resource, body.metadata, request));
    },
    apply: (resource, body, options) => applyAt(resource, body, options),
    applyStatus: (resource, body, options) => applyAt(resource, body, options, "status"),
    mergePatch: async (resource, key, patch, { signal, subresource }) => {
      const path = objectPath(resource, key, subresource);
      const contentType = "application/merge-patch+json";
      const request = { method: "PATCH", path, body: JSON.stringify(patch), contentType, signal } as const;
      return decode(resource, await call("patch", resource, key, request));
    },
    delete: async (resource, key, { signal, uid, resourceVersion, propagationPolicy }) => {
      const path = objectPath(resource, key);
      const body = JSON.stringify({ preconditions: { uid, resourceVersion }, propagationPolicy });
      try {
        const request = { method: "DELETE", path, body, contentType: "application/json", signal } as const;
        await call("delete", resource, key, request);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  } satisfies Partial<KubeClient>;
};

const toJson = (resource: Resource, body: WritableObject): string =>
  JSON.stringify({ ...body, apiVersion: apiVersionOf(resource), kind: resource.kind });
