import { createHash } from "node:crypto";
import { Agent, type Dispatcher } from "undici";
import type { Clock } from "./clock.ts";
import {
  readCredentials,
  serverOf,
  type Credentials,
  type KubeConfig,
  type TlsMaterial,
} from "./kube-config.ts";

export interface TransportRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Absolute path with its query. */
  readonly path: string;
  readonly body?: string | undefined;
  readonly contentType?: string | undefined;
  /** Longest silence within the answer's body, in ms. */
  readonly idleTimeoutMs: number;
  readonly signal: AbortSignal;
}

/** Authenticated HTTP to one API server. */
export interface Transport {
  /** Resolves when the headers are there. Rejects when there is no answer; a status of 400 is one. */
  send(request: TransportRequest): Promise<Dispatcher.ResponseData>;
  /** Breaks all connections. */
  close(): Promise<void>;
}

export interface TransportOptions {
  readonly kubeConfig: KubeConfig;
  readonly userAgent: string;
  readonly clock: Clock;
}

/** Tokens and certificates are read again after this time: both are rotated under a running process. */
const CREDENTIALS_TTL_MS = 10_000;
/** Below the API server's own 90 s, so that it is not the one that closes while we send. */
const KEEP_ALIVE_MS = 60_000;

/**
 * One HTTP/1.1 pool. Not HTTP/2: on one shared session a black-holed path
 * takes all requests with it, also the new ones, until the session is found
 * dead; here an aborted request closes its own socket and the next one dials.
 */
export const createTransport = (options: TransportOptions): Transport => {
  const server = serverOf(options.kubeConfig);
  const prefix = server.pathname === "/" ? "" : server.pathname;
  const credentials = cachedCredentials(options);
  const agents = rotatingAgent();
  return {
    send: async (request) => {
      const { tls, headers } = await credentials();
      return agents.forTls(tls).request({
        origin: server.origin,
        path: prefix + request.path,
        method: request.method,
        body: request.body ?? null,
        headers: {
          accept: "application/json",
          "user-agent": options.userAgent,
          ...headers,
          ...(request.contentType !== undefined && { "content-type": request.contentType }),
        },
        headersTimeout: request.idleTimeoutMs,
        bodyTimeout: request.idleTimeoutMs,
        signal: request.signal,
      });
    },
    close: () => agents.close(),
  };
};

/** Reads credentials at most once per TTL, and once for all requests that ask meanwhile. */
const cachedCredentials = (options: TransportOptions): (() => Promise<Credentials>) => {
  let readAt = Number.NEGATIVE_INFINITY;
  let current: Promise<Credentials> | undefined;
  return () => {
    const now = options.clock.monotonic();
    if (current === undefined || now - readAt > CREDENTIALS_TTL_MS) {
      readAt = now;
      const reading = readCredentials(options.kubeConfig);
      current = reading;
      // A failed read is not kept: the next request tries again.
      reading.catch(() => {
        if (current === reading) current = undefined;
      });
    }
    return current;
  };
};

/** The pool for the present certificate; when that was rotated, a new pool, and the old one drains. */
const rotatingAgent = () => {
  let agent: Agent | undefined;
  let fingerprint = "";
  return {
    forTls: (tls: TlsMaterial): Agent => {
      const next = fingerprintOf(tls);
      if (agent !== undefined && next === fingerprint) return agent;
      void agent?.close();
      fingerprint = next;
      agent = new Agent({
        allowH2: false,
        keepAliveTimeout: KEEP_ALIVE_MS,
        keepAliveMaxTimeout: KEEP_ALIVE_MS,
        connect: { ...tls, timeout: 10_000, keepAlive: true, keepAliveInitialDelay: 30_000 },
      });
      return agent;
    },
    close: async (): Promise<void> => {
      await agent?.destroy();
      agent = undefined;
    },
  };
};

const fingerprintOf = (tls: TlsMaterial): string => {
  const hash = createHash("sha256");
  for (const part of [tls.ca, tls.cert, tls.key, tls.servername, String(tls.rejectUnauthorized)])
    hash.update(part ?? "").update("\0");
  return hash.digest("hex");
};
