import type { Duplex } from "node:stream";
import { createWebSocketStream, WebSocket } from "ws";
import type { Abortable } from "./client.ts";
import { withDeadline } from "./abort.ts";
import { ApiError, TransportError, readStatus } from "./api-error.ts";
import { systemClock, type Clock } from "./clock.ts";
import { readCredentials, serverOf, type KubeConfig } from "./kube-config.ts";
import { createTransport, type Transport, type TransportRequest } from "./transport.ts";
import { linesOf, parseWatchLine, type WatchEvent } from "./watch-stream.ts";

export interface RawRequest extends Abortable {
  /** The request in words, for errors: "stop VirtualMachine shop/web". */
  readonly what: string;
  readonly method: TransportRequest["method"];
  /** Absolute path with its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Default application/json. */
  readonly contentType?: string | undefined;
}

export interface RawStream extends Abortable {
  readonly what: string;
  readonly path: string;
  /** Silence longer than this breaks it, in ms. */
  readonly idleTimeoutMs: number;
}

/**
 * The Kubernetes API as it is on the wire, for a program that shows people what
 * the server says: objects with all their fields, subresources that are no
 * objects, and websockets.
 *
 * Rejects with ApiError when the server refuses, with TransportError when no
 * usable answer came, and with the signal's reason when that was aborted.
 * Nothing is retried here.
 */
export interface RawKubeClient {
  /** URL of the API server, for people. */
  readonly server: URL;
  json(request: RawRequest): Promise<unknown>;
  bytes(request: RawRequest): Promise<Buffer>;
  /** A body that may be without end, in chunks. */
  stream(request: RawStream): AsyncGenerator<Uint8Array>;
  watch(request: RawStream): AsyncGenerator<WatchEvent>;
  /**
   * Opens a websocket and resolves with it as a stream of bytes: what is written goes out in binary
   * messages, end() closes it. The signal ends the opening only; the caller ends the stream.
   */
  connect(request: Pick<RawStream, "what" | "path" | "signal">): Promise<WebSocketStream>;
  close(): Promise<void>;
}

/** How the other side ended a websocket. https://www.rfc-editor.org/rfc/rfc6455#section-7.4 */
export interface WebSocketEnd {
  /** 1000: as planned. 1006: the connection broke. */
  readonly code: number;
  readonly reason: string;
}

export interface WebSocketStream {
  readonly stream: Duplex;
  /** Never rejects; a stream that breaks says so itself. */
  readonly ended: Promise<WebSocketEnd>;
}

export interface RawKubeClientOptions {
  readonly kubeConfig: KubeConfig;
  readonly userAgent: string;
  /** Deadline of every request but streams, in ms. Default 30 s. */
  readonly requestTimeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** More than any one message of a console or a screen. */
const MAX_WEBSOCKET_MESSAGE_BYTES = 16 * 1024 * 1024;

export const createRawKubeClient = (options: RawKubeClientOptions): RawKubeClient => {
  const { kubeConfig, userAgent, requestTimeoutMs = 30_000, clock = systemClock } = options;
  const transport = createTransport({ kubeConfig, userAgent, clock });
  const bytes = (request: RawRequest): Promise<Buffer> =>
    withDeadline(request.signal, requestTimeoutMs, (signal) =>
      readAll(transport, { ...request, signal }, requestTimeoutMs),
    ).catch((error: unknown) => {
      throw failure(request.what, request.signal, error);
    });
  return {
    server: serverOf(kubeConfig),
    bytes,
    json: async (request) => parseJson(request.what, await bytes(request)),
    stream: (request) => streamOf(transport, request),
    watch: (request) => watchOf(transport, request),
    connect: (request) => openWebSocket({ kubeConfig, userAgent, requestTimeoutMs }, request),
    close: () => transport.close(),
  };
};

const failure = (what: string, signal: AbortSignal, error: unknown): unknown => {
  if (signal.aborted) return signal.reason;
  return error instanceof ApiError || error instanceof TransportError
    ? error
    : new TransportError(what, error);
};

const parseJson = (what: string, bytes: Buffer): unknown => {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new TransportError(
      what,
      new Error(`the answer is not JSON: ${bytes.subarray(0, 80).toString("utf8")}`),
    );
  }
};

const readAll = async (
  transport: Transport,
  { what, method, path, body, contentType = "application/json", signal }: RawRequest,
  idleTimeoutMs: number,
): Promise<Buffer> => {
  const content = body === undefined ? {} : { body: JSON.stringify(body), contentType };
  const response = await transport.send({ method, path, ...content, signal, idleTimeoutMs });
  const bytes = Buffer.from(await response.body.arrayBuffer());
  if (response.statusCode >= 400) throw refusal(what, response.statusCode, bytes.toString("utf8"));
  return bytes;
};

/** What the server said, whether it said it as a Status object or as plain text. */
const refusal = (what: string, statusCode: number, text: string): ApiError => {
  let status: unknown;
  try {
    status = JSON.parse(text);
  } catch {
    status = undefined;
  }
  const read = readStatus(status);
  return new ApiError(what, statusCode, { ...read, message: read.message ?? text.trim().slice(0, 200) });
};

async function* streamOf(
  transport: Transport,
  { what, path, signal, idleTimeoutMs }: RawStream,
): AsyncGenerator<Uint8Array> {
  try {
    const response = await transport.send({ method: "GET", path, signal, idleTimeoutMs });
    if (response.statusCode >= 400) throw refusal(what, response.statusCode, await response.body.text());
    for await (const chunk of response.body) yield chunk as Uint8Array;
  } catch (error) {
    throw failure(what, signal, error);
  }
}

async function* watchOf(transport: Transport, request: RawStream): AsyncGenerator<WatchEvent> {
  try {
    for await (const line of linesOf(streamOf(transport, request))) yield parseWatchLine(request.what, line);
  } catch (error) {
    throw failure(request.what, request.signal, error);
  }
}

/** RFC 6455 through the API server; it passes the connection on to whoever serves the subresource. */
const openWebSocket = async (
  { kubeConfig, userAgent, requestTimeoutMs = 30_000 }: RawKubeClientOptions,
  { what, path, signal }: Pick<RawStream, "what" | "path" | "signal">,
): Promise<WebSocketStream> => {
  signal.throwIfAborted();
  const server = serverOf(kubeConfig);
  const { tls, headers } = await readCredentials(kubeConfig);
  const prefix = server.pathname === "/" ? "" : server.pathname;
  const scheme = server.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${server.host}${prefix}${path}`, {
    ...tls,
    headers: { ...headers, "user-agent": userAgent },
    // Consoles and screens are full of small messages: compressing each costs more than it saves.
    perMessageDeflate: false,
    handshakeTimeout: requestTimeoutMs,
    maxPayload: MAX_WEBSOCKET_MESSAGE_BYTES,
  });
  return opened(socket, what, signal);
};

const opened = (socket: WebSocket, what: string, signal: AbortSignal): Promise<WebSocketStream> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => fail(signal.reason);
    const fail = (error: unknown): void => {
      signal.removeEventListener("abort", onAbort);
      // Terminating a socket that is still connecting makes it emit one more error.
      socket.on("error", () => {});
      socket.terminate();
      reject(failure(what, signal, error));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", fail);
    socket.once("unexpected-response", (_request, response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", fail);
      response.once("end", () =>
        fail(refusal(what, response.statusCode ?? 500, Buffer.concat(chunks).toString("utf8"))),
      );
    });
    socket.once("open", () => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", fail);
      const { promise: ended, resolve: end } = Promise.withResolvers<WebSocketEnd>();
      socket.once("close", (code, reason) => end({ code, reason: reason.toString("utf8") }));
      // Made here and not by the caller: the first message may come before a promise is heard of.
      resolve({ stream: createWebSocketStream(socket), ended });
    });
  });
