import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { addAbortSignal, type Duplex, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { describePeer, type PeerIdentity } from "./identity.ts";
import { peerConnectOptions, type TlsMaterial } from "./peer-tls.ts";

/** A program to talk to: where it listens, and who must be there. */
export interface PeerAddress {
  /** "host:port", IPv6 in brackets. */
  readonly endpoint: string;
  readonly identity: PeerIdentity;
}

export interface PeerRequestOptions {
  /** Default GET. */
  readonly method?: "GET" | "POST" | "PUT" | "DELETE" | undefined;
  /** With its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A text is sent at once, a stream with back-pressure. */
  readonly body?: string | Readable | undefined;
  /** Silence longer than this breaks the connection, in ms. Default 30 s. Not after an upgrade. */
  readonly idleTimeoutMs?: number | undefined;
  readonly signal: AbortSignal;
}

/** Requests to other programs of Vireo over mutual TLS. Every request has a connection of its own. */
export interface PeerClient {
  /**
   * Resolves with the answer once its headers are there; its body must be read or destroyed.
   * Rejects with PeerRefusal when the peer says no, with PeerUnreachable when no answer came.
   */
  request(to: PeerAddress, options: PeerRequestOptions): Promise<IncomingMessage>;
  /** Turns a connection into a stream of bytes both ways. The abort signal ends the stream, too. */
  upgrade(to: PeerAddress, options: PeerRequestOptions): Promise<Duplex>;
}

/** The peer answered, and the answer is no. */
export class PeerRefusal extends Error {
  override readonly name = "PeerRefusal";
  /** HTTP status code. */
  readonly status: number;
  /** Machine-readable: NotFound, NotRunning, … */
  readonly reason: string;

  constructor(status: number, { reason, message }: PeerProblem) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** No answer: not reached, not who was expected, broken, or silent for too long. */
export class PeerUnreachable extends Error {
  override readonly name = "PeerUnreachable";
}

/** The body of an answer that says no. */
const peerProblem = z.object({ reason: z.string(), message: z.string() });
export type PeerProblem = z.infer<typeof peerProblem>;

/** Names the protocol of an upgraded connection: bytes, and nothing between them. */
export const BYTES_PROTOCOL = "vireo-bytes";

/** Header by which the api-server says on whose behalf it asks; percent-encoded. */
export const REQUESTER_HEADER = "vireo-requester";

const DEFAULT_IDLE_MS = 30_000;
const KEEP_ALIVE_MS = 30_000;
const MAX_PROBLEM_BYTES = 16_384;

/** @param material what to prove who we are with, at that moment; undefined while there is no certificate */
export const createPeerClient = (material: () => TlsMaterial | undefined): PeerClient => ({
  request: async (to, options) => {
    const answer = await send(material, to, options);
    if (answer.kind === "response") return answer.response;
    answer.stream.destroy();
    throw new PeerUnreachable(`${describePeer(to.identity)} has changed the protocol without being asked to`);
  },
  upgrade: async (to, options) => {
    const headers = { ...options.headers, connection: "Upgrade", upgrade: BYTES_PROTOCOL };
    const answer = await send(material, to, { ...options, headers });
    if (answer.kind === "upgraded") return answer.stream;
    answer.response.destroy();
    throw new PeerUnreachable(`${describePeer(to.identity)} has not changed the protocol`);
  },
});

type Answer =
  | { readonly kind: "response"; readonly response: IncomingMessage }
  | { readonly kind: "upgraded"; readonly stream: Duplex };

const send = async (
  material: () => TlsMaterial | undefined,
  to: PeerAddress,
  options: PeerRequestOptions,
): Promise<Answer> => {
  const own = material();
  if (own === undefined)
    throw new PeerUnreachable("this program has no certificate yet; it waits for the controller to sign one");
  const answer = await exchange(own, to, options).catch((cause: unknown) => {
    if (options.signal.aborted) throw options.signal.reason;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new PeerUnreachable(`${describePeer(to.identity)} at ${to.endpoint} does not answer: ${why}`, {
      cause,
    });
  });
  if (answer.kind === "response" && (answer.response.statusCode ?? 0) >= 300)
    throw new PeerRefusal(answer.response.statusCode ?? 0, await readProblem(answer.response));
  return answer;
};

const exchange = (own: TlsMaterial, to: PeerAddress, options: PeerRequestOptions): Promise<Answer> => {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { hostname, port } = new URL(`https://${to.endpoint}`);
  const idleMs = options.idleTimeoutMs ?? DEFAULT_IDLE_MS;
  const outgoing = httpsRequest({
    ...peerConnectOptions(own, to.identity),
    host: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? 443 : Number(port),
    method: options.method ?? "GET",
    path: options.path,
    headers: { ...options.headers, host: to.endpoint },
    agent: false,
    timeout: idleMs,
    signal: options.signal,
  });
  outgoing.on("timeout", () => outgoing.destroy(new Error(`silent for ${idleMs} ms`)));
  outgoing.on("error", reject);
  outgoing.on("response", (response) => resolve({ kind: "response", response }));
  outgoing.on("upgrade", (_response, stream, head) => {
    // A stream may be silent for hours; the kernel asks meanwhile whether the other end lives.
    stream.setTimeout(0);
    stream.setKeepAlive(true, KEEP_ALIVE_MS);
    if (head.length > 0) stream.unshift(head);
    // An upgraded stream is the request's no more. Who reads it hears of its end; before that nobody listens.
    addAbortSignal(options.signal, stream);
    stream.on("error", () => {});
    resolve({ kind: "upgraded", stream });
  });
  // A refusal may come before the body was read: the answer counts then, not the broken pipe.
  if (options.body === undefined || typeof options.body === "string") outgoing.end(options.body);
  else pipeline(options.body, outgoing).catch(reject);
  return promise;
};

const readProblem = async (response: IncomingMessage): Promise<PeerProblem> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_PROBLEM_BYTES) break;
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString("utf8");
  try {
    return peerProblem.parse(JSON.parse(text));
  } catch {
    return { reason: "Unknown", message: `${response.statusCode} ${text.slice(0, 200)}` };
  }
};
