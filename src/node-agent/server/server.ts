import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import { type AddressInfo, isIPv6 } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { type Clock, linkAbort, type Logger, sleep, systemClock } from "../../kube/index.ts";
import {
  BYTES_PROTOCOL,
  describePeer,
  joinStreams,
  type PeerCredentials,
  peerOf,
  peerServerOptions,
  REQUESTER_HEADER,
  type TlsMaterial,
} from "../../pki/index.ts";
import { problemOf, sendAnswer, sendProblem, sendUpgrade, sendUpgradeProblem } from "./answer.ts";
import type { ServerMetrics } from "./metrics.ts";
import { chooseRoute, type Match } from "./router.ts";
import { type PeerCall, PeerProblemError, type Route } from "./types.ts";

/** Where to listen. */
export interface ServerAddress {
  /** An address of the node that other nodes and the api-server reach. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

export interface PeerServerOptions {
  readonly credentials: Pick<PeerCredentials, "whenReady" | "onChange">;
  /** Undefined while the node has no address yet; it is asked again. */
  readonly address: () => ServerAddress | undefined;
  readonly routes: readonly Route[];
  readonly logger: Logger;
  readonly metrics: ServerMetrics;
  readonly clock?: Clock | undefined;
  /** Connections at once; further ones are closed. Default 1024. */
  readonly maxConnections?: number | undefined;
  /** Silence that breaks a request, in ms; streams may be silent. Default 60 s. */
  readonly idleTimeoutMs?: number | undefined;
}

/**
 * The agent's only open port: HTTP/1.1 over TLS 1.3, for holders of a
 * certificate of Vireo's authority (docs/design/node-agent.md).
 */
export interface PeerServer {
  /** Listens as soon as there are a certificate and an address, until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
  /** "host:port" while it listens. */
  endpoint(): string | undefined;
  /** Calls back when the endpoint has changed. */
  onChange(listener: () => void): () => void;
}

const RETRY_MS = 5_000;
/** How often it is looked whether the node still has that address, in ms. */
const LOOK_MS = 10_000;
/** How long a path may have been silent before the kernel asks whether the other end lives. */
const KEEP_ALIVE_MS = 30_000;

export const createPeerServer = (options: PeerServerOptions): PeerServer => {
  const { logger } = options;
  const clock = options.clock ?? systemClock;
  const listeners = new Set<() => void>();
  let endpoint: string | undefined;
  const setEndpoint = (next: string | undefined): void => {
    if (next === endpoint) return;
    endpoint = next;
    for (const listener of listeners) listener();
  };

  const serve = async (material: TlsMaterial, signal: AbortSignal): Promise<void> => {
    const address = options.address();
    if (address === undefined) throw new Error("the node has no address that others could reach it by yet");
    const server = serverOf(options, material, signal);
    const unsubscribe = options.credentials.onChange((next) =>
      server.setSecureContext(peerServerOptions(next)),
    );
    try {
      server.listen(address);
      await once(server, "listening", { signal });
      setEndpoint(formatEndpoint(address.host, (server.address() as AddressInfo).port));
      logger.info({ endpoint }, "serving the api-server and other nodes");
      const watch = linkAbort(signal);
      await Promise.race([
        once(server, "close"),
        untilMoved(() => (options.address() ?? address).host !== address.host, clock, watch.signal),
      ]).finally(() => {
        watch.abort();
        watch.unlink();
      });
    } finally {
      unsubscribe();
      setEndpoint(undefined);
      server.close();
      server.closeAllConnections();
    }
  };

  return {
    endpoint: () => endpoint,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    run: async (signal) => {
      while (!signal.aborted) {
        try {
          await serve(await options.credentials.whenReady(signal), signal);
        } catch (err) {
          if (signal.aborted) return;
          // Guests go on, and so does the agent: only what comes through this port is missing.
          logger.error({ err }, "cannot serve the api-server and other nodes; trying again");
          await sleep(clock, RETRY_MS, signal).catch(() => {});
        }
      }
    },
  };
};

/** Resolves when the node has another address: then it is to listen there. Open streams go on. */
const untilMoved = async (hasMoved: () => boolean, clock: Clock, signal: AbortSignal): Promise<void> => {
  while (!hasMoved()) {
    await sleep(clock, LOOK_MS, signal).catch(() => {});
    if (signal.aborted) return;
  }
};

export const formatEndpoint = (host: string, port: number): string =>
  isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;

const serverOf = (options: PeerServerOptions, material: TlsMaterial, signal: AbortSignal): Server => {
  const idleMs = options.idleTimeoutMs ?? 60_000;
  const server = createServer({
    ...peerServerOptions(material),
    handshakeTimeout: 10_000,
    headersTimeout: 10_000,
    // A disk may take its time to arrive, as long as it keeps coming.
    requestTimeout: 0,
    maxHeaderSize: 16_384,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    noDelay: true,
  });
  server.maxConnections = options.maxConnections ?? 1024;
  server.setTimeout(idleMs);
  const streams = new Set<Duplex>();
  server.on("request", (request, response) => {
    void answerRequest(options, request, response, signal);
  });
  server.on("upgrade", (request, socket, head) => {
    streams.add(socket);
    socket.on("close", () => streams.delete(socket));
    void answerUpgrade(options, { request, socket, head }, signal);
  });
  server.on("tlsClientError", (err, socket) => {
    const { remoteAddress } = socket as { readonly remoteAddress?: string };
    options.logger.debug({ err, remoteAddress }, "refused a connection");
  });
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
    for (const stream of streams) stream.destroy();
  };
  signal.addEventListener("abort", stop, { once: true });
  server.once("close", () => signal.removeEventListener("abort", stop));
  return server;
};

interface Found {
  readonly call: Omit<PeerCall, "signal">;
  readonly match: Match;
}

/** Throws PeerProblemError. */
const find = ({ routes }: PeerServerOptions, request: IncomingMessage, wantsUpgrade: boolean): Found => {
  const url = urlOf(request);
  const peer = request.socket instanceof TLSSocket ? peerOf(request.socket) : undefined;
  const method = request.method ?? "";
  const match = chooseRoute(routes, { peer, method, pathname: url.pathname, wantsUpgrade });
  if (peer === undefined) throw new PeerProblemError(403, "Forbidden", "the certificate is nobody's");
  const requester = peer.kind === "api-server" ? requesterOf(request) : undefined;
  const { params } = match;
  const { headers } = request;
  return { match, call: { peer, requester, params, query: url.searchParams, headers, body: request } };
};

const urlOf = ({ url = "" }: IncomingMessage): URL => {
  if (!URL.canParse(url, "https://agent")) throw new PeerProblemError(400, "BadRequest", "no path");
  return new URL(url, "https://agent");
};

const requesterOf = ({ headers }: IncomingMessage): string | undefined => {
  const text = headers[REQUESTER_HEADER];
  if (typeof text !== "string" || text === "") return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new PeerProblemError(400, "BadRequest", `${REQUESTER_HEADER} is not percent-encoded`);
  }
};

const answerRequest = async (
  options: PeerServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> => {
  const abort = linkAbort(signal);
  response.on("close", () => abort.abort());
  const startedAt = performance.now();
  let found: Found | undefined;
  let failure: unknown;
  let hasLeft = false;
  try {
    found = find(options, request, false);
    if (found.match.route.kind !== "request") throw new TypeError("a stream was chosen for a request");
    await sendAnswer(response, await found.match.route.handle({ ...found.call, signal: abort.signal }));
  } catch (error) {
    failure = error;
    hasLeft = response.destroyed;
    sendProblem(response, problemOf(error));
  } finally {
    abort.unlink();
    request.resume();
    report(options, request, { found, failure, hasLeft, status: response.statusCode, startedAt });
  }
};

interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  /** What came with the request already. */
  readonly head: Buffer;
}

const answerUpgrade = async (
  options: PeerServerOptions,
  { request, socket, head }: Upgrade,
  signal: AbortSignal,
): Promise<void> => {
  const abort = linkAbort(signal);
  socket.on("close", () => abort.abort());
  // Whoever breaks the connection is noticed by its close.
  socket.on("error", () => {});
  if (socket instanceof TLSSocket) socket.setTimeout(0);
  const startedAt = performance.now();
  let found: Found | undefined;
  try {
    found = find(options, request, request.headers.upgrade === BYTES_PROTOCOL);
    const { route } = found.match;
    if (route.kind !== "upgrade")
      throw new PeerProblemError(400, "BadRequest", "unknown protocol to upgrade to");
    const stream = await route.handle({ ...found.call, signal: abort.signal });
    report(options, request, { found, status: 101, startedAt });
    await carry(options, { socket, head, stream, path: route.path });
    options.logger.info({ ...fieldsOf(request, found), ms: since(startedAt) }, "stream ended");
  } catch (failure) {
    const problem = problemOf(failure);
    const hasLeft = socket.destroyed;
    sendUpgradeProblem(socket, problem);
    report(options, request, { found, failure, hasLeft, status: problem.status, startedAt });
  } finally {
    abort.unlink();
  }
};

const carry = async (
  { metrics }: PeerServerOptions,
  { socket, head, stream, path }: Pick<Upgrade, "socket" | "head"> & { stream: Duplex; path: string },
): Promise<void> => {
  if (head.length > 0) socket.unshift(head);
  sendUpgrade(socket);
  metrics.streams.inc({ route: path });
  try {
    await joinStreams(socket, stream);
  } finally {
    metrics.streams.dec({ route: path });
  }
};

interface Outcome {
  readonly found: Found | undefined;
  readonly failure?: unknown;
  /** Whether the caller did not wait for the answer: what failed then failed for that. */
  readonly hasLeft?: boolean;
  readonly status: number;
  readonly startedAt: number;
}

const since = (startedAt: number): number => Math.round(performance.now() - startedAt);

const fieldsOf = (request: IncomingMessage, found: Found | undefined) => ({
  peer: found === undefined ? undefined : describePeer(found.call.peer),
  requester: found?.call.requester,
  method: request.method,
  // Without its query, which is the caller's text.
  path: (request.url ?? "").split("?", 1)[0]?.slice(0, 300),
  machineUid: found?.call.params["uid"],
});

const report = (options: PeerServerOptions, request: IncomingMessage, outcome: Outcome): void => {
  const { found, failure, hasLeft = false, status, startedAt } = outcome;
  options.metrics.requests.inc({ route: found?.match.route.path ?? "none", code: String(status) });
  const fields = { ...fieldsOf(request, found), status, ms: since(startedAt) };
  if (failure === undefined) options.logger.info(fields, "answered");
  else if (hasLeft) options.logger.info(fields, "the caller has left");
  else if (failure instanceof PeerProblemError)
    options.logger.info({ ...fields, why: failure.message }, "refused");
  else options.logger.warn({ ...fields, err: failure }, "could not answer");
};
