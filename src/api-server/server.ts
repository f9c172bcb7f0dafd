import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket, type TlsOptions } from "node:tls";
import { linkAbort, type Logger } from "../kube/index.ts";
import type { TlsMaterial } from "../pki/index.ts";
import { problemOf, sendAnswer, sendJson, sendProblem, sendUpgradeProblem } from "./answer.ts";
import { discovery, wantsOtherForm } from "./discovery.ts";
import type { FrontProxy } from "./front-proxy.ts";
import type { Handlers } from "./handlers.ts";
import type { ApiServerMetrics } from "./metrics.ts";
import { ApiProblem } from "./problem.ts";
import { type Asked, readRequest, readSubresource } from "./request.ts";
import type { Target } from "./target.ts";
import { createWebSockets, isWebSocketRequest } from "./web-socket.ts";

/** What the server proves itself with, and what kube-apiserver does. */
export interface Trust {
  readonly material: TlsMaterial;
  readonly proxy: FrontProxy;
}

export interface SubresourceServerOptions {
  readonly address: { readonly host: string; readonly port: number };
  readonly handlers: Handlers;
  readonly logger: Logger;
  readonly metrics: ApiServerMetrics;
}

export interface SubresourceServer {
  /** Listens, and answers until the signal is aborted. */
  run(trust: Trust, signal: AbortSignal): Promise<void>;
  /** Certificates were renewed, or kube-apiserver is known by others: holds for the next connections and requests. */
  update(trust: Trust): void;
  /** The port while it listens. */
  port(): number | undefined;
}

/** The client's certificate is asked for and verified, and its absence is answered with a 401 that says so. */
const tlsOptions = ({ material, proxy }: Trust): TlsOptions => ({
  cert: material.certificate,
  key: material.privateKey,
  ca: proxy.clientAuthorities,
  minVersion: "TLSv1.3",
  requestCert: true,
  rejectUnauthorized: false,
});

/** The HTTPS server behind the APIService. HTTP/1.1: a WebSocket needs a connection of its own. */
export const createSubresourceServer = (options: SubresourceServerOptions): SubresourceServer => {
  let server: Server | undefined;
  let proxy: FrontProxy | undefined;
  return {
    port: () => (server?.listening === true ? (server.address() as AddressInfo).port : undefined),
    update: (trust) => {
      proxy = trust.proxy;
      server?.setSecureContext(tlsOptions(trust));
    },
    run: async (trust, signal) => {
      proxy = trust.proxy;
      server = serverOf(options, trust, () => proxy, signal);
      server.listen(options.address);
      await once(server, "listening", { signal });
      options.logger.info({ port: (server.address() as AddressInfo).port }, "serving subresources");
      await once(server, "close");
    },
  };
};

const serverOf = (
  options: SubresourceServerOptions,
  trust: Trust,
  proxy: () => FrontProxy | undefined,
  signal: AbortSignal,
): Server => {
  const server = createServer({
    ...tlsOptions(trust),
    handshakeTimeout: 10_000,
    headersTimeout: 10_000,
    requestTimeout: 60_000,
    maxHeaderSize: 65_536,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  });
  const webSockets = createWebSockets();
  const streams = new Set<Duplex>();
  server.on("request", (request, response) => {
    void answerRequest(options, proxy(), { request, response }, signal);
  });
  server.on("upgrade", (request, socket, head) => {
    streams.add(socket);
    socket.on("close", () => streams.delete(socket));
    void answerUpgrade({ ...options, webSockets }, proxy(), { request, socket, head }, signal);
  });
  const stop = (): void => {
    server.close();
    // Consoles would never end by themselves; who is in the middle of a request may ask another api-server.
    server.closeAllConnections();
    for (const stream of streams) stream.destroy();
  };
  signal.addEventListener("abort", stop, { once: true });
  return server;
};

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

const answerRequest = async (
  options: SubresourceServerOptions,
  proxy: FrontProxy | undefined,
  { request, response }: Exchange,
  signal: AbortSignal,
): Promise<void> => {
  const abort = linkAbort(signal);
  response.on("close", () => abort.abort());
  const startedAt = performance.now();
  let seen: Seen = {};
  try {
    const asked = readRequest(request, proxy);
    seen = { asked };
    const document = asked.method === "GET" ? discovery[asked.url.pathname] : undefined;
    if (document !== undefined) {
      sendDiscovery(request, response, document);
      return;
    }
    const target = readSubresource(asked, false);
    seen = { asked, target };
    await sendAnswer(response, await options.handlers.answer(asked, target, abort.signal));
    report(options, seen, { code: response.statusCode, startedAt });
  } catch (failure) {
    const problem = problemOf(failure);
    const hasLeft = response.destroyed;
    sendProblem(response, problem);
    report(options, seen, { code: problem.code, startedAt, failure, hasLeft });
  } finally {
    abort.unlink();
    request.resume();
  }
};

const sendDiscovery = (request: IncomingMessage, response: ServerResponse, document: object): void => {
  if (wantsOtherForm(request.headers.accept)) response.writeHead(406).end();
  else sendJson(response, 200, document);
};

const answerUpgrade = async (
  options: SubresourceServerOptions & { readonly webSockets: ReturnType<typeof createWebSockets> },
  proxy: FrontProxy | undefined,
  upgrade: { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer },
  signal: AbortSignal,
): Promise<void> => {
  const { request, socket } = upgrade;
  const abort = linkAbort(signal);
  socket.on("close", () => abort.abort());
  socket.on("error", () => {});
  if (socket instanceof TLSSocket) socket.setTimeout(0);
  const startedAt = performance.now();
  let seen: Seen = {};
  try {
    const asked = readRequest(request, proxy);
    seen = { asked };
    if (!isWebSocketRequest(request))
      throw new ApiProblem("BadRequest", "streams are WebSockets (RFC 6455): ask with Upgrade: websocket");
    const target = readSubresource(asked, true);
    seen = { asked, target };
    const stream = await options.handlers.stream(asked, target, abort.signal);
    report(options, seen, { code: 101, startedAt });
    const { subresource } = target;
    options.metrics.streams.inc({ subresource });
    await options.webSockets
      .serve(upgrade, stream)
      .finally(() => options.metrics.streams.dec({ subresource }));
    options.logger.info({ ...fieldsOf(seen), ms: since(startedAt) }, "stream ended");
  } catch (failure) {
    const problem = problemOf(failure);
    const hasLeft = socket.destroyed;
    sendUpgradeProblem(socket, problem);
    report(options, seen, { code: problem.code, startedAt, failure, hasLeft });
  } finally {
    abort.unlink();
  }
};

/** How far a request was understood. */
interface Seen {
  readonly asked?: Asked;
  readonly target?: Target;
}

interface Outcome {
  readonly code: number;
  readonly startedAt: number;
  readonly failure?: unknown;
  /** Whether the caller did not wait for the answer: what failed then failed for that. */
  readonly hasLeft?: boolean;
}

const since = (startedAt: number): number => Math.round(performance.now() - startedAt);

const fieldsOf = ({ asked, target }: Seen) => ({
  user: asked?.user.name,
  machine: target === undefined ? undefined : `${target.namespace}/${target.name}`,
  subresource: target?.subresource,
});

const report = (
  { logger, metrics }: SubresourceServerOptions,
  seen: Seen,
  { code, startedAt, failure, hasLeft = false }: Outcome,
): void => {
  metrics.requests.inc({ subresource: seen.target?.subresource ?? "none", code: String(code) });
  const fields = { ...fieldsOf(seen), code, ms: since(startedAt) };
  if (failure === undefined) logger.info(fields, "answered");
  else if (hasLeft) logger.info(fields, "the caller has left");
  else if (!(failure instanceof ApiProblem)) logger.warn({ ...fields, err: failure }, "could not answer");
  else logger[seen.target === undefined ? "debug" : "info"]({ ...fields, why: failure.message }, "refused");
};
