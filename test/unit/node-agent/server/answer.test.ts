import { once } from "node:events";
import { createServer, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";

import { expect, test } from "@jest/globals";

import { sendAnswer } from "../../../../src/node-agent/server/answer.ts";

test("a body is closed also when who asked for it has gone before it begins", async () => {
  const asked = Promise.withResolvers<ServerResponse>();
  const server = createServer((_, response) => asked.resolve(response)).listen(0, "127.0.0.1");
  try {
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const asking = request({ host: "127.0.0.1", port }).end();
    asking.on("error", () => {});
    const response = await asked.promise;
    const gone = once(response, "close");
    asking.destroy();
    await gone;
    const body = Readable.from(["content"]);
    const closed = once(body, "close");
    await expect(sendAnswer(response, { body })).rejects.toThrow();
    await closed;
    expect(body.destroyed).toBe(true);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
