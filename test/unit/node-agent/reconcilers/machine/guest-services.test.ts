import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createConsoles } from "../../../../../src/node-agent/consoles/index.ts";
import { GuestOffError, type GuestSockets } from "../../../../../src/node-agent/domains/index.ts";
import type { GuestPort } from "../../../../../src/node-agent/reconcilers/machine/guest-port.ts";
import { createGuestRequests } from "../../../../../src/node-agent/reconcilers/machine/guest-requests.ts";
import { createGuestServices } from "../../../../../src/node-agent/reconcilers/machine/guest-services.ts";
import { tapName } from "../../../../../src/node-agent/links/index.ts";
import { machineWith } from "../../machines.ts";

const { signal } = new AbortController();
const { uid } = machineWith().metadata;
const call = { uid, requester: "somebody", signal };

let directory: string;
let server: Server;
let path: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vireo-guest-services-"));
  path = join(directory, "screen");
  server = createServer((socket) => socket.end("RFB 003.008\n"));
  await new Promise<void>((resolve) => void server.listen(path, resolve));
});

afterAll(async () => {
  server.close();
  await rm(directory, { recursive: true });
});

/** Services of a node with one machine, whose guest is on unless its sockets are missing. */
const services = (sockets: GuestSockets | undefined) => {
  const ports: GuestPort[] = [];
  const looks: string[] = [];
  const requests = createGuestRequests((vmUid) => void looks.push(vmUid));
  const whenOn = async <T>(value: T): Promise<T> => {
    if (sockets === undefined) throw new GuestOffError("guest is off");
    return value;
  };
  return {
    ports,
    looks,
    requests,
    door: createGuestServices({
      machines: { get: (asked) => (asked === uid ? machineWith() : undefined) },
      requests,
      domains: { readConsoleLog: async () => new TextEncoder().encode("Booting") },
      live: {
        sockets: () => whenOn(sockets ?? {}),
        screenshot: () => whenOn(new Uint8Array([0x89])),
      },
      consoles: createConsoles(),
      openGuestPort: async (to) => {
        ports.push(to);
        return new PassThrough();
      },
    }),
  };
};

describe("what the api-server asks of a guest", () => {
  test("its screen is the socket that libvirt names", async () => {
    const screen: Readable = await services({ vnc: path }).door.vnc(call);
    expect(await text(screen)).toBe("RFB 003.008\n");
  });

  test("its log is what its console has said", async () => {
    expect(await text(await services(undefined).door.log(call))).toBe("Booting");
  });

  test("a port is one of its own address, by its own tap", async () => {
    const { door, ports } = services({});
    (await door.tcp({ ...call, port: 22 })).destroy();
    expect(ports).toEqual([{ tap: tapName(uid, "default"), address: "10.0.0.2", port: 22 }]);
  });

  test("a restart is answered when it is recorded", async () => {
    const { door, requests, looks } = services({});
    const asked = door.restart(call);
    expect([looks, requests.next(uid)]).toEqual([[uid], "restart"]);
    requests.settle(uid);
    await expect(asked).resolves.toBeUndefined();
  });

  test.each<[string, (door: ReturnType<typeof services>["door"]) => Promise<unknown>, object]>([
    ["of another node", (door) => door.log({ ...call, uid: "other" }), { status: 404 }],
    ["of a guest that is off: the screen", (door) => door.vnc(call), { status: 409 }],
    ["of a guest that is off: the screenshot", (door) => door.screenshot(call), { status: 409 }],
    ["of a guest that is off: the console", (door) => door.console(call), { status: 409 }],
  ])("is refused %s", async (_, ask, problem) => {
    await expect(ask(services(undefined).door)).rejects.toMatchObject(problem);
  });

  test("a screen that the guest does not have is refused, with what to do", async () => {
    await expect(services({}).door.spice(call)).rejects.toMatchObject({
      status: 422,
      message: expect.stringContaining("add SPICE to spec.graphics"),
    });
  });

  test("a pause that makes no sense is refused with the pass's words", async () => {
    const { door, requests } = services({});
    const asked = door.pause(call);
    requests.settle(uid, "The guest is off.");
    await expect(asked).rejects.toMatchObject({ status: 409, message: "The guest is off." });
  });
});
