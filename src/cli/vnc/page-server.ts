import { randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { createWebSocketStream, WebSocketServer } from "ws";
import { startListening } from "../listen.ts";
import { contentSecurityPolicy, PAGE_CSS, pageHtml, type PageOptions } from "./page.ts";

export interface PageServerOptions extends PageOptions {
  /** The page's program, noVNC included. */
  readonly script: string;
  /** Default 0: any that is free. */
  readonly port?: number | undefined;
  /** Joins a browser with the guest; settles when the connection is over. What goes wrong it says itself. */
  readonly serve: (browser: Duplex) => Promise<void>;
}

export interface PageServer {
  /** What to open: whoever does not know its random part gets nothing. */
  readonly url: string;
  close(): Promise<void>;
}

const LOOPBACK = "127.0.0.1";
const TOKEN_BYTES = 24;

interface Resource {
  readonly type: string;
  readonly content: string;
}

/**
 * Serves the page on loopback. Other pages in the same browser can reach that
 * too: so all paths begin with a random token, the Host must be ours (no name
 * that somebody has pointed to loopback), and so must a websocket's Origin.
 */
export const startPageServer = async (options: PageServerOptions): Promise<PageServer> => {
  const token = randomBytes(TOKEN_BYTES).toString("base64url");
  const resources: Readonly<Record<string, Resource>> = {
    "": { type: "text/html; charset=utf-8", content: pageHtml(options) },
    "page.css": { type: "text/css; charset=utf-8", content: PAGE_CSS },
    "page.js": { type: "text/javascript; charset=utf-8", content: options.script },
  };
  const server = createServer();
  await startListening(server, LOOPBACK, options.port ?? 0);
  const authority = `${LOOPBACK}:${(server.address() as AddressInfo).port}`;
  server.on("request", (request, response) => {
    const path = pathOf(request, authority, token);
    answer(response, authority, path === undefined ? undefined : resources[path], request.method);
  });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const isOurs =
      pathOf(request, authority, token) === "socket" && request.headers.origin === `http://${authority}`;
    if (!isOurs) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    sockets.handleUpgrade(request, socket, head, (browser) => {
      const stream = createWebSocketStream(browser);
      stream.on("error", () => {});
      void options
        .serve(stream)
        .catch(() => {})
        .finally(() => browser.close());
    });
  });
  return {
    url: `http://${authority}/${token}/`,
    close: async () => {
      const closed = once(server, "close");
      for (const browser of sockets.clients) browser.terminate();
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
};

/** The path after the token; undefined when the request is not one of our page's. */
const pathOf = (
  { headers, url = "" }: IncomingMessage,
  authority: string,
  token: string,
): string | undefined => {
  const [, first = "", ...rest] = (url.split("?")[0] ?? "").split("/");
  const isOurs = headers.host === authority && rest.length === 1 && isSame(first, token);
  return isOurs ? rest[0] : undefined;
};

const isSame = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));

const answer = (
  response: ServerResponse,
  authority: string,
  resource: Resource | undefined,
  method: string | undefined,
): void => {
  response.setHeader("content-security-policy", contentSecurityPolicy(authority));
  response.setHeader("cross-origin-opener-policy", "same-origin");
  response.setHeader("cross-origin-resource-policy", "same-origin");
  response.setHeader("referrer-policy", "no-referrer");
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("cache-control", "no-store");
  if (resource === undefined || method !== "GET") {
    response.writeHead(404, { "content-type": "text/plain; charset=utf-8" }).end("there is nothing here\n");
    return;
  }
  response.writeHead(200, { "content-type": resource.type }).end(resource.content);
};
