import { afterEach, describe, expect, test } from "@jest/globals";

import { connectLibvirt } from "../../../src/libvirt/index.ts";
import { FakeLibvirtServer, type FakeLibvirtOptions } from "../../fakes/libvirt-server.ts";
import { waitFor } from "../../testbed/wait.ts";

const servers: FakeLibvirtServer[] = [];
const start = async (options: FakeLibvirtOptions = {}): Promise<FakeLibvirtServer> => {
  const server = await FakeLibvirtServer.start(options);
  servers.push(server);
  return server;
};

afterEach(() => Promise.all(servers.splice(0).map((server) => server.stop())));

const [NONE, SASL, POLKIT] = [0, 1, 2];

describe("connecting", () => {
  test("asks about authentication first, then for keepalive, then opens", async () => {
    const server = await start();
    const connection = await connectLibvirt({ socketPath: server.socketPath });
    expect(server.calls).toEqual(["authList", "connectSupportsFeature", "connectOpen"]);
    await connection.close();
  });

  test.each([
    ["asks polkit when that is offered", [POLKIT], true],
    ["takes the first offer that it knows", [SASL, NONE, POLKIT], false],
    ["needs no authentication when none is offered", [], false],
  ])("%s", async (_, authTypes, polkit) => {
    const server = await start({ authTypes });
    const connection = await connectLibvirt({ socketPath: server.socketPath });
    expect(server.calls.includes("authPolkit")).toBe(polkit);
    expect(await connection.hostname()).toBe("fake");
    await connection.close();
  });

  test("goes without keepalive where the daemon has none", async () => {
    const server = await start({ keepalive: false });
    const connection = await connectLibvirt({ socketPath: server.socketPath });
    expect(await connection.hostname()).toBe("fake");
    await connection.close();
  });

  test("fails when only an authentication is offered that it does not know", async () => {
    const { socketPath } = await start({ authTypes: [SASL] });
    await expect(connectLibvirt({ socketPath })).rejects.toThrow(
      `cannot connect to libvirtd at ${socketPath}: libvirtd offers no authentication that this client knows`,
    );
  });

  test("fails when polkit refuses, with polkit's reason", async () => {
    const server = await start({ authTypes: [POLKIT] });
    server.next("authPolkit", { kind: "error", code: 45, message: "authentication failed: access denied" });
    await expect(connectLibvirt(server)).rejects.toThrow("authentication failed: access denied");
    await waitFor("the connection is gone", () => server.connections === 0, { intervalMs: 1 });
  });

  test("fails when nobody listens, and names the socket", async () => {
    const { socketPath } = await start();
    await servers.splice(0)[0]?.stop();
    await expect(connectLibvirt({ socketPath })).rejects.toThrow(
      `cannot connect to libvirtd at ${socketPath}: connect ENOENT`,
    );
  });

  test("is given up by its signal, wherever it stands", async () => {
    const server = await start();
    await expect(
      connectLibvirt({ socketPath: server.socketPath, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({
      name: "ConnectError",
    });
    for (const procedure of ["authList", "connectSupportsFeature", "connectOpen"] as const) {
      server.next(procedure, { kind: "hang" });
      const controller = new AbortController();
      const attempt = connectLibvirt({ socketPath: server.socketPath, signal: controller.signal });
      const outcome = attempt.then(
        () => "connected",
        (error: Error) => error.name,
      );
      await waitFor(`the daemon has ${procedure}`, () => server.calls.at(-1) === procedure, {
        intervalMs: 1,
      });
      controller.abort();
      expect(await outcome).toBe("ConnectError");
    }
  });

  test("ends when the daemon drops it half-way", async () => {
    const server = await start();
    server.next("connectOpen", { kind: "drop-after" });
    await expect(connectLibvirt(server)).rejects.toMatchObject({
      name: "ConnectError",
      cause: expect.objectContaining({ name: "OutcomeUnknownError" }),
    });
  });
});
