import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";

import { afterAll, beforeAll, expect, test } from "@jest/globals";

import { createOpenGuestPort } from "../../../src/node-agent/reconcilers/machine/guest-port.ts";
import { startProgram } from "../../../src/node-agent/host/command.ts";
import { waitFor } from "../../testbed/wait.ts";

/** Connections to guests by socat, with this machine's loopback in the place of a tap. */

const { signal } = new AbortController();
const open = createOpenGuestPort(startProgram);

let server: Server;
let port: number;

beforeAll(async () => {
  server = createServer((socket) => {
    socket.on("error", () => {});
    socket.write("hello ");
    socket.pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
});

afterAll(() => void server.close());

test("a port that answers is there both ways, until the other side has said its last", async () => {
  const stream = await open({ tap: "lo", address: "127.0.0.1", port }, { signal });
  const heard: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => heard.push(chunk));
  stream.write("guest");
  await waitFor("the echo", () => Buffer.concat(heard).length >= 11);
  expect(Buffer.concat(heard).toString("utf8")).toBe("hello guest");
  stream.end();
  await once(stream, "end");
});

test("a guest that has said its last is heard to, and hears on", async () => {
  const heard: Buffer[] = [];
  const brief = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("data", (chunk: Buffer) => heard.push(chunk));
    socket.end("bye");
  });
  brief.listen(0, "127.0.0.1");
  await once(brief, "listening");
  const { port: briefPort } = brief.address() as AddressInfo;
  const stream = await open({ tap: "lo", address: "127.0.0.1", port: briefPort }, { signal });
  const said: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => said.push(chunk));
  await once(stream, "end");
  expect(Buffer.concat(said).toString("utf8")).toBe("bye");
  stream.write("one more");
  await waitFor("what came after", () => Buffer.concat(heard).toString("utf8") === "one more");
  stream.destroy();
  brief.close();
  await once(brief, "close");
});

test("a port where nobody listens is refused, with the reason", async () => {
  await expect(open({ tap: "lo", address: "127.0.0.1", port: 1 }, { signal })).rejects.toThrow(
    "Connection refused",
  );
});
