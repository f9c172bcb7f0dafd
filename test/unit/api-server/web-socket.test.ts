import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Duplex, PassThrough } from "node:stream";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { WebSocket } from "ws";

import { createWebSockets, isWebSocketRequest } from "../../../src/api-server/web-socket.ts";

let server: Server;
let stream: Duplex;
let served: Promise<void>[];
let clients: WebSocket[];

beforeEach(async () => {
  const webSockets = createWebSockets();
  served = [];
  clients = [];
  server = createServer();
  server.on("upgrade", (request, socket, head) => {
    served.push(webSockets.serve({ request, socket, head }, stream));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterEach(async () => {
  for (const client of clients) client.terminate();
  server.close();
  await Promise.allSettled(served);
});

const connect = (protocols: readonly string[] = []): WebSocket => {
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}`, [...protocols]);
  clients.push(client);
  return client;
};

/** A stream that can be told to swallow nothing. */
const stubborn = (): Duplex & { readonly taken: () => number; goOn(): void } => {
  let taken = 0;
  let next: (() => void) | undefined;
  let isWilling = false;
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      taken += chunk.length;
      if (isWilling) done();
      else next = () => done();
    },
  });
  return Object.assign(duplex, {
    taken: () => taken,
    goOn: () => {
      isWilling = true;
      next?.();
    },
  });
};

describe("a client's WebSocket", () => {
  test("closes when the guest's stream has ended, after its last words", async () => {
    stream = new PassThrough();
    const client = connect();
    const heard: string[] = [];
    client.on("message", (data: Buffer) => heard.push(data.toString()));
    await once(client, "open");
    stream.push("last words");
    stream.push(null);
    await once(client, "close");
    expect(heard.join("")).toBe("last words");
  });

  test("ends the guest's stream when it closes, and when it breaks", async () => {
    for (const leave of [(client: WebSocket) => client.close(), (client: WebSocket) => client.terminate()]) {
      stream = new PassThrough();
      const closed = once(stream, "close");
      const client = connect();
      await once(client, "open");
      leave(client);
      await closed;
      expect(stream.destroyed).toBe(true);
    }
  });

  test("is not read from while the guest does not take what it says, and nothing is lost", async () => {
    const guest = stubborn();
    stream = guest;
    const client = connect();
    await once(client, "open");
    const block = Buffer.alloc(256 * 1024, 1);
    const total = 256 * block.length;
    for (let sent = 0; sent < total; sent += block.length) client.send(block);
    // More than all buffers of the kernel take stays with the client for as long as the guest is stubborn.
    expect(client.bufferedAmount).toBeGreaterThan(0);
    expect(guest.taken()).toBeLessThan(total / 2);
    guest.goOn();
    client.close();
    await once(guest, "finish");
    expect(guest.taken()).toBe(total);
  });

  test("gets back the name that it has for bytes", async () => {
    stream = new PassThrough();
    const client = connect(["binary", "something-else"]);
    await once(client, "open");
    expect(client.protocol).toBe("binary");
  });

  test("is not compressed", async () => {
    stream = new PassThrough();
    const client = connect();
    await once(client, "open");
    expect(client.extensions).toBe("");
  });
});

describe("a request for a WebSocket", () => {
  const good = {
    upgrade: "WebSocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
  };
  test.each([
    ["as RFC 6455 has it", {}, true],
    ["for another protocol", { upgrade: "h2c" }, false],
    ["without a key", { "sec-websocket-key": undefined }, false],
    ["with a key that is none", { "sec-websocket-key": "short" }, false],
    ["of an old version", { "sec-websocket-version": "8" }, false],
  ])("%s: %j %s", (_what, change, answer) => {
    const headers = { ...good, ...change };
    expect(isWebSocketRequest({ headers } as Parameters<typeof isWebSocketRequest>[0])).toBe(answer);
  });
});
