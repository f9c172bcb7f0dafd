import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";

/** What clients may call the content: bytes. A browser wants its word back; none is fine, too. */
const PROTOCOLS = ["vireo-bytes", "binary"];
/** Largest frame from a client. */
const MAX_FRAME_BYTES = 1024 * 1024;
/** Silence on the way is taken for death by proxies; a ping is none. */
const PING_MS = 30_000;

export interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** Turns connections into WebSockets of binary frames, uncompressed: what goes through is not ours to look at. */
export const createWebSockets = () => {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handleProtocols: (offered) => PROTOCOLS.find((name) => offered.has(name)) ?? false,
  });
  return {
    /** Joins the client with a stream, with back-pressure both ways. Resolves when both have ended. */
    serve: async ({ request, socket, head }: Upgrade, stream: Duplex): Promise<void> => {
      const { promise: accepted, resolve, reject } = Promise.withResolvers<WebSocket>();
      const refuse = (): void => reject(new Error("the client has left before the WebSocket began"));
      // Opening the stream has taken time: he may be gone already, and is not heard to leave again.
      if (socket.destroyed) refuse();
      socket.once("close", refuse);
      server.handleUpgrade(request, socket, head, (client) => {
        socket.off("close", refuse);
        resolve(client);
      });
      const client = await accepted.catch((error: unknown) => {
        stream.destroy();
        throw error;
      });
      const timer = setInterval(() => client.ping(), PING_MS);
      try {
        await join(createWebSocketStream(client), stream);
      } finally {
        clearInterval(timer);
      }
    },
  };
};

/**
 * A WebSocket cannot be half closed: when either side has ended, and what it
 * said was delivered, it is over for both.
 */
const join = async (client: Duplex, stream: Duplex): Promise<void> => {
  // Two pipelines listen from many sides; that is no leak.
  for (const one of [client, stream]) one.setMaxListeners(one.getMaxListeners() + 20);
  const both = [pipeline(client, stream), pipeline(stream, client)];
  await Promise.race(both).catch(() => {});
  client.destroy();
  stream.destroy();
  await Promise.allSettled(both);
};

/** Whether that is what the client wants, said in a way that can be answered. */
export const isWebSocketRequest = ({ headers }: IncomingMessage): boolean =>
  headers.upgrade?.toLowerCase() === "websocket" &&
  /^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "") &&
  headers["sec-websocket-version"] === "13";
