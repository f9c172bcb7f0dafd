import { createServer, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";

/** Undefined when all is well, else what is wrong, in a sentence. */
export type Check = () => string | undefined;

export interface HealthServerOptions {
  /** Default: all addresses. */
  readonly host?: string | undefined;
  /** 0: any free one. */
  readonly port: number;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/**
 * What kubelet and Prometheus ask: /healthz (restart me?), /readyz (am I of
 * use?), /metrics. Checks look at memory only: they are asked every few seconds.
 */
export interface HealthServer {
  /** A liveness check. Few things deserve a restart; an API server that is away does not. */
  addLivenessCheck(name: string, check: Check): void;
  addReadinessCheck(name: string, check: Check): void;
  /** Starts to listen; answers until the signal is aborted. `closed` resolves after that. */
  listen(signal: AbortSignal): Promise<{ readonly port: number; readonly closed: Promise<void> }>;
}

export const createHealthServer = (options: HealthServerOptions): HealthServer => {
  const liveness = new Map<string, Check>();
  const readiness = new Map<string, Check>();
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    answer(options, { liveness, readiness }, request.url ?? "/", response).catch((error: unknown) => {
      options.logger.error({ err: error, url: request.url }, "could not answer");
      response.destroy();
    });
  });
  return {
    addLivenessCheck: (name, check) => void liveness.set(name, check),
    addReadinessCheck: (name, check) => void readiness.set(name, check),
    listen: async (signal) => {
      server.listen({ port: options.port, ...(options.host !== undefined && { host: options.host }) });
      await once(server, "listening", { signal });
      const stop = (): void => {
        server.close();
        server.closeAllConnections();
      };
      const closed = new Promise<void>((resolve) => {
        server.once("close", () => resolve());
      });
      signal.addEventListener("abort", stop, { once: true });
      return { port: (server.address() as AddressInfo).port, closed };
    },
  };
};

interface Checks {
  readonly liveness: ReadonlyMap<string, Check>;
  readonly readiness: ReadonlyMap<string, Check>;
}

const answer = async (
  { metrics }: HealthServerOptions,
  checks: Checks,
  url: string,
  response: ServerResponse,
): Promise<void> => {
  const path = url.split("?", 1)[0];
  if (path === "/healthz") send(response, runChecks(checks.liveness));
  else if (path === "/readyz") send(response, runChecks(checks.readiness));
  else if (path === "/metrics") {
    response.setHeader("content-type", metrics.registry.contentType);
    response.end(await metrics.registry.metrics());
  } else send(response, { status: 404, text: "not found; there are /healthz, /readyz and /metrics\n" });
};

interface Report {
  readonly status: number;
  readonly text: string;
}

const send = (response: ServerResponse, { status, text }: Report): void => {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
};

/** A line per check, as kube-apiserver's /readyz?verbose writes it. */
const runChecks = (checks: ReadonlyMap<string, Check>): Report => {
  const failures = [...checks].map(([name, check]) => ({ name, failure: runCheck(check) }));
  const lines = failures.map(({ name, failure }) =>
    failure === undefined ? `[+]${name} ok\n` : `[-]${name} failed: ${failure}\n`,
  );
  const isWell = failures.every(({ failure }) => failure === undefined);
  return { status: isWell ? 200 : 503, text: `${lines.join("")}${isWell ? "ok" : "failed"}\n` };
};

const runCheck = (check: Check): string | undefined => {
  try {
    return check();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};
