import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { isObject, type Json } from "./kube-api-flat.ts";
import {
  FakeObjects,
  StatusError,
  type Address,
  type HistoryEntry,
  type StoredObject,
  type Subresource,
} from "./kube-api-objects.ts";
import { parseFieldSelector, parseLabelSelector, type Matcher } from "./kube-api-selectors.ts";

export type Verb = "get" | "list" | "watch" | "create" | "apply" | "patch" | "delete";

/** What happens to a request instead of, or after, its work. */
export type Fault =
  | { readonly kind: "status"; readonly status: number; readonly retryAfterSeconds?: number }
  /** A watch that says something that is no event. */
  | { readonly kind: "garbage" }
  /** A watch that is cut in the middle of its first line. */
  | { readonly kind: "half-line" }
  /** A watch whose first event is an ERROR. */
  | { readonly kind: "error-event"; readonly status: number }
  /** A watch that ends at once. */
  | { readonly kind: "empty" }
  /** Headers, and then silence for ever. */
  | { readonly kind: "silent" }
  /** Not even headers. */
  | { readonly kind: "hang" }
  /** The connection breaks before anything is done. */
  | { readonly kind: "drop" }
  /** It is done, and the connection breaks before the answer. */
  | { readonly kind: "lose-answer" };

export interface RequestRecord {
  readonly verb: Verb;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
}

interface Route {
  readonly verb: Verb;
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: Subresource;
  readonly query: URLSearchParams;
}

interface Watcher {
  readonly response: ServerResponse;
  readonly collection: string;
  send(event: unknown): void;
  /** Hears of no more writes. */
  detach(): void;
}

/**
 * A Kubernetes API server in memory, over real HTTP, with versions, watches,
 * selectors, server-side apply and finalizers; no schemas, and every path is a
 * kind. Its memory outlives stop() and start(), as etcd does a restart of the
 * real one. It can be told to misbehave.
 */
export class FakeKubeApiServer {
  readonly objects = new FakeObjects();
  /** All requests, in order. */
  readonly requests: RequestRecord[] = [];
  /** Does the server know sendInitialEvents? Default true. */
  watchList = true;
  /** Called when a request has been served. */
  onRequest: (() => void) | undefined;
  readonly #faults: { readonly verb: Verb; readonly fault: Fault }[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #kinds = new Map<string, { apiVersion: unknown; kind: string }>();
  readonly #pages = new Map<string, { items: StoredObject[]; resourceVersion: number }>();
  #server: Server | undefined;
  #port = 0;
  #pageCount = 0;
  #connectionCount = 0;

  /** Connections that were ever made. */
  get connectionCount(): number {
    return this.#connectionCount;
  }

  get port(): number {
    return this.#port;
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  async start(): Promise<void> {
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => sendError(response, error));
    });
    this.#server.on("connection", () => (this.#connectionCount += 1));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** As kill -9 does: every connection breaks, and the port is closed. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  }

  kubeConfig(): KubeConfig {
    const config = new KubeConfig();
    const cluster = { name: "fake", server: `http://127.0.0.1:${this.#port}`, skipTLSVerify: true };
    config.loadFromClusterAndUser(cluster, { name: "fake" });
    return config;
  }

  /** The next request with this verb meets this fault. Several are met in their order. */
  failNext(verb: Verb, fault: Fault): void {
    this.#faults.push({ verb, fault });
  }

  get pendingFaults(): number {
    return this.#faults.length;
  }

  clearFaults(): void {
    this.#faults.length = 0;
  }

  /** Breaks all connections; new ones are welcome. */
  dropConnections(): void {
    this.#server?.closeAllConnections();
  }

  /** Ends all watches properly, as the real server does after their timeout. */
  endWatches(): void {
    for (const watcher of this.#watchers) {
      watcher.detach();
      watcher.response.end();
    }
  }

  /** Says something wrong on all open watches. */
  writeToWatches(text: string): void {
    for (const { response } of this.#watchers) response.write(text);
  }

  /** Forgets the history: watches that come back from before, and lists between two pages, get 410. */
  compact(): void {
    this.objects.compact();
    this.#pages.clear();
  }

  sendBookmarks(): void {
    for (const watcher of this.#watchers) watcher.send(this.#bookmark(watcher.collection, {}));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fake");
    const route = parseRoute(request, url);
    this.requests.push({
      verb: route.verb,
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
    });
    const index = this.#faults.findIndex(({ verb }) => verb === route.verb);
    const fault = index === -1 ? undefined : this.#faults.splice(index, 1)[0]?.fault;
    if (fault !== undefined && fault.kind !== "lose-answer") misbehave(fault, response);
    else if (route.verb === "watch") this.#watch(route, response);
    else {
      const result = this.#work(route, request, await readBody(request));
      if (fault === undefined) sendJson(response, route.verb === "create" ? 201 : 200, result);
      else response.socket?.destroy();
    }
    this.onRequest?.();
  }

  #work(route: Route, request: IncomingMessage, body: Json): unknown {
    if (route.verb === "list") return this.#list(route);
    const address = this.#addressOf(route, body);
    const manager = request.headers["user-agent"] ?? "unknown";
    switch (route.verb) {
      case "get":
        return this.objects.get(address);
      case "create":
        this.#learn(route.collection, body);
        return this.objects.create(address, body, `${manager}/`);
      case "patch":
        return this.objects.patch(address, body, route.subresource, manager);
      case "apply":
        this.#learn(route.collection, body);
        return this.objects.apply(address, body, route.subresource, applyOptions(route.query));
      case "delete":
        return this.objects.delete(address, isObject(body["preconditions"]) ? body["preconditions"] : {});
      default:
        throw new StatusError(405, "MethodNotAllowed", route.verb);
    }
  }

  #addressOf({ collection, namespace, name }: Route, body: Json): Address {
    const metadata = isObject(body["metadata"]) ? body["metadata"] : {};
    const given = name ?? metadata["name"];
    if (typeof given !== "string" || given === "")
      throw new StatusError(422, "Invalid", "metadata.name: Required value: name is required");
    return { collection, namespace, name: given };
  }

  #learn(collection: string, { apiVersion, kind }: Json): void {
    this.#kinds.set(collection, { apiVersion, kind: String(kind) });
  }

  #list({ collection, namespace, query }: Route): unknown {
    const token = query.get("continue");
    const page = token === null ? this.#firstPage(collection, namespace, query) : this.#pages.get(token);
    if (page === undefined)
      throw new StatusError(410, "Expired", "The provided continue parameter is too old");
    const limit = Number(query.get("limit") ?? "0") || page.items.length;
    const rest = page.items.slice(limit);
    const next = rest.length === 0 ? undefined : `page-${(this.#pageCount += 1)}`;
    if (next !== undefined) this.#pages.set(next, { ...page, items: rest });
    const { apiVersion = "v1", kind = "" } = this.#kinds.get(collection) ?? {};
    return {
      apiVersion,
      kind: `${kind}List`,
      metadata: {
        resourceVersion: String(page.resourceVersion),
        ...(next !== undefined && { continue: next }),
      },
      // Items of a list have neither; the real server leaves them out for the built-in kinds.
      items: page.items.slice(0, limit).map(({ apiVersion: _a, kind: _k, ...item }) => item),
    };
  }

  #firstPage(collection: string, namespace: string | undefined, query: URLSearchParams) {
    const items = this.objects.list(collection, namespace).filter(matcherOf(query));
    return { items, resourceVersion: this.objects.resourceVersion };
  }

  #watch(route: Route, response: ServerResponse): void {
    const { collection, namespace, query } = route;
    const matches = matcherOf(query);
    const sendInitialEvents = query.get("sendInitialEvents") === "true";
    if (sendInitialEvents && !this.watchList)
      throw new StatusError(422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden");
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const send = (event: unknown): void => void response.write(`${JSON.stringify(event)}\n`);
    const from = query.get("resourceVersion");
    const isFresh = from === null || from === "" || from === "0";
    const relevant = (entry: HistoryEntry): boolean =>
      entry.collection === collection && (namespace === undefined || entry.namespace === namespace);
    const forward = (entry: HistoryEntry): void => {
      const event = relevant(entry) ? eventOf(entry, matches) : undefined;
      if (event !== undefined) send(event);
    };
    if (isFresh)
      for (const object of this.objects.list(collection, namespace).filter(matches))
        send({ type: "ADDED", object });
    if (sendInitialEvents) send(this.#bookmark(collection, { "k8s.io/initial-events-end": "true" }));
    if (!isFresh && !this.#replay(Number(from), forward, send)) {
      response.end();
      return;
    }
    const unsubscribe = this.objects.onWrite(forward);
    const detach = (): void => {
      unsubscribe();
      this.#watchers.delete(watcher);
    };
    const watcher: Watcher = { response, collection, send, detach };
    this.#watchers.add(watcher);
    response.on("close", detach);
  }

  /** Sends what was missed; false when that is forgotten. The real server says so in an event, not in the status. */
  #replay(from: number, forward: (entry: HistoryEntry) => void, send: (event: unknown) => void): boolean {
    try {
      for (const entry of this.objects.since(from)) forward(entry);
      return true;
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      send({ type: "ERROR", object: statusOf(error) });
      return false;
    }
  }

  #bookmark(collection: string, annotations: Json): unknown {
    const { apiVersion = "v1", kind = "" } = this.#kinds.get(collection) ?? {};
    const metadata = { resourceVersion: String(this.objects.resourceVersion), annotations };
    return { type: "BOOKMARK", object: { apiVersion, kind, metadata } };
  }
}

const eventOf = ({ before, after, resourceVersion }: HistoryEntry, matches: Matcher): unknown => {
  const was = before !== undefined && matches(before);
  const is = after !== undefined && matches(after);
  if (is) return { type: was ? "MODIFIED" : "ADDED", object: after };
  if (!was) return undefined;
  const metadata = { ...before.metadata, resourceVersion: String(resourceVersion) };
  return { type: "DELETED", object: { ...before, metadata } };
};

const parseRoute = (request: IncomingMessage, url: URL): Route => {
  const parts = url.pathname
    .split("/")
    .filter((part) => part !== "")
    .map(decodeURIComponent);
  const groupVersion = parts[0] === "api" ? parts.slice(1, 2) : parts.slice(1, 3);
  const rest = parts.slice(groupVersion.length + 1);
  const isScoped = rest[0] === "namespaces" && rest.length > 2;
  const [plural = "", name, subresource] = isScoped ? rest.slice(2) : rest;
  return {
    verb: verbOf(request, name, url.searchParams),
    collection: [...groupVersion, plural].join("/"),
    namespace: isScoped ? rest[1] : undefined,
    name,
    subresource: subresource === "status" ? "status" : undefined,
    query: url.searchParams,
  };
};

const verbOf = (request: IncomingMessage, name: string | undefined, query: URLSearchParams): Verb => {
  if (request.method === "POST") return "create";
  if (request.method === "DELETE") return "delete";
  if (request.method === "PATCH")
    return request.headers["content-type"] === "application/apply-patch+yaml" ? "apply" : "patch";
  if (query.get("watch") === "true") return "watch";
  return name === undefined ? "list" : "get";
};

const matcherOf = (query: URLSearchParams): Matcher => {
  const byField = parseFieldSelector(query.get("fieldSelector") ?? "");
  const byLabel = parseLabelSelector(query.get("labelSelector") ?? "");
  return (object) => byField(object) && byLabel(object);
};

const applyOptions = (query: URLSearchParams) => {
  const manager = query.get("fieldManager");
  if (manager === null)
    throw new StatusError(422, "Invalid", "fieldManager: Required value: is required for apply patch");
  return { manager, force: query.get("force") === "true" };
};

const readBody = async (request: IncomingMessage): Promise<Json> => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString("utf8");
  return text === "" ? {} : (JSON.parse(text) as Json);
};

const sendJson = (response: ServerResponse, status: number, value: unknown): void => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
};

const statusOf = ({ status, reason, message }: StatusError) => ({
  apiVersion: "v1",
  kind: "Status",
  status: "Failure",
  code: status,
  reason,
  message,
});

const sendError = (response: ServerResponse, error: unknown): void => {
  const known = error instanceof StatusError ? error : new StatusError(500, "InternalError", String(error));
  if (response.headersSent) response.destroy();
  else sendJson(response, known.status, statusOf(known));
};

const misbehave = (fault: Exclude<Fault, { kind: "lose-answer" }>, response: ServerResponse): void => {
  const begin = (): ServerResponse => response.writeHead(200, { "content-type": "application/json" });
  const failed = new StatusError("status" in fault ? fault.status : 500, "Injected", "injected by the test");
  switch (fault.kind) {
    case "status":
      if (fault.retryAfterSeconds !== undefined) response.setHeader("retry-after", fault.retryAfterSeconds);
      sendJson(response, fault.status, statusOf(failed));
      return;
    case "garbage":
      begin().write("}{ this is no event\n");
      return;
    case "half-line":
      begin().end('{"type":"ADDED","object":{"metadata":{"na');
      return;
    case "error-event":
      begin().write(`${JSON.stringify({ type: "ERROR", object: statusOf(failed) })}\n`);
      return;
    case "empty":
      begin().end();
      return;
    case "silent":
      begin().flushHeaders();
      return;
    case "hang":
      return;
    case "drop":
      response.socket?.destroy();
      return;
    default:
      fault satisfies never;
  }
};
