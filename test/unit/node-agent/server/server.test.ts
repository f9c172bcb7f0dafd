import { once } from "node:events";
import { type Duplex, PassThrough, Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { connect } from "node:tls";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { createMetrics } from "../../../../src/kube/index.ts";
import {
  createPeerServer,
  createServerMetrics,
  PeerProblemError,
  type PeerServer,
  type Route,
} from "../../../../src/node-agent/server/index.ts";
import {
  createPeerClient,
  type PeerAddress,
  type PeerIdentity,
  REQUESTER_HEADER,
  type TlsMaterial,
} from "../../../../src/pki/index.ts";
import { fixedCredentials, materialFor, testAuthority } from "../../../fakes/peer-material.ts";
import { createRecordingLogger } from "../../../fakes/recording-logger.ts";
import { travellingClock, type TravellingClock } from "../../../fakes/travelling-clock.ts";
import { waitFor } from "../../../testbed/wait.ts";

const authority = testAuthority();
const NODE: PeerIdentity = { kind: "node-agent", nodeName: "node-1" };
const OTHER: PeerIdentity = { kind: "node-agent", nodeName: "node-2" };
const API_SERVER: PeerIdentity = { kind: "api-server" };

let server: PeerServer;
let clock: TravellingClock;
/** The node's address. */
let host: string;
let credentials: ReturnType<typeof fixedCredentials>;
let stop: () => Promise<void>;
let logger: ReturnType<typeof createRecordingLogger>;
let lastSignal: AbortSignal | undefined;
const { signal } = new AbortController();

const routes: readonly Route[] = [
  {
    kind: "request",
    method: "GET",
    path: "/v1/echo/:uid",
    allow: "api-server",
    handle: ({ params, requester, query }) =>
      Promise.resolve({ body: JSON.stringify({ ...params, requester, query: query.get("a") }) }),
  },
  {
    kind: "request",
    method: "PUT",
    path: "/v1/layers/:uid",
    allow: "node-agent",
    handle: async ({ body }) => ({ status: 201, body: String((await buffer(body)).length) }),
  },
  {
    kind: "request",
    method: "GET",
    path: "/v1/layers/:uid",
    allow: "node-agent",
    handle: () => Promise.resolve({ body: Readable.from([Buffer.alloc(1_000_000, 1), Buffer.alloc(10, 2)]) }),
  },
  {
    kind: "request",
    method: "GET",
    path: "/v1/broken",
    allow: "node-agent",
    handle: () =>
      Promise.resolve({
        body: Readable.from(
          (async function* broken() {
            yield Buffer.alloc(100);
            await Promise.resolve();
            throw new Error("the disk is gone");
          })(),
        ),
      }),
  },
  {
    kind: "request",
    method: "GET",
    path: "/v1/endless",
    allow: "node-agent",
    handle: () =>
      Promise.resolve({
        body: new Readable({
          read() {
            this.push(Buffer.alloc(65_536));
          },
        }),
      }),
  },
  {
    kind: "request",
    method: "POST",
    path: "/v1/fail",
    allow: "node-agent",
    handle: () => Promise.reject(new Error("a secret that is nobody's business")),
  },
  {
    kind: "upgrade",
    path: "/v1/streams/:uid",
    allow: "node-agent",
    handle: (call) => {
      lastSignal = call.signal;
      if (call.params["uid"] === "off") throw new PeerProblemError(409, "Conflict", "the guest is off");
      return Promise.resolve(new PassThrough());
    },
  },
];

beforeEach(async () => {
  credentials = fixedCredentials(materialFor(NODE, authority));
  logger = createRecordingLogger();
  clock = travellingClock();
  host = "127.0.0.1";
  server = createPeerServer({
    credentials,
    address: () => ({ host, port: 0 }),
    clock,
    routes,
    logger,
    metrics: createServerMetrics(createMetrics()),
  });
  const controller = new AbortController();
  const listening = new Promise<void>((resolve) => {
    server.onChange(() => resolve());
  });
  const running = server.run(controller.signal);
  await listening;
  stop = async () => {
    controller.abort();
    await running;
  };
});

afterEach(() => stop());

const here = (identity: PeerIdentity = NODE): PeerAddress => ({
  endpoint: server.endpoint() ?? "",
  identity,
});
const clientOf = (material: TlsMaterial | undefined) => createPeerClient(() => material);
const as = (identity: PeerIdentity) => clientOf(materialFor(identity, authority));

const why = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "answered",
    (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error)),
  );

describe("who asks", () => {
  test("is known by its certificate, and the user by what the api-server says", async () => {
    const headers = { [REQUESTER_HEADER]: encodeURIComponent("jürgen:a b") };
    const response = await as(API_SERVER).request(here(), { path: "/v1/echo/u-1?a=b", headers, signal });
    expect(JSON.parse(await text(response))).toEqual({ uid: "u-1", requester: "jürgen:a b", query: "b" });
  });

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      "without a certificate is not heard",
      () => plainRequest(),
      /certificate required|socket hang up|ECONNRESET|closed/,
    ],
    [
      "with a certificate of another authority is not heard",
      () => {
        const foreign = { ...materialFor(OTHER, testAuthority()), authorities: authority.certificate };
        return clientOf(foreign).request(here(), { path: "/v1/layers/a", signal });
      },
      /PeerUnreachable/,
    ],
    [
      "with a certificate that has ended is not heard",
      () => {
        const ended = materialFor(OTHER, authority, { notAfter: new Date(Date.now() - 1000) });
        return clientOf(ended).request(here(), { path: "/v1/layers/a", signal });
      },
      /PeerUnreachable/,
    ],
    [
      "without any certificate yet does not even try",
      () => clientOf(undefined).request(here(), { path: "/v1/layers/a", signal }),
      /has no certificate yet/,
    ],
    [
      "as another node may not do what is the api-server's",
      () => as(OTHER).request(here(), { path: "/v1/echo/a", signal }),
      /PeerRefusal: \/v1\/echo\/a is not for node-agent node-2/,
    ],
    [
      "as the api-server may not do what is the nodes'",
      () => as(API_SERVER).request(here(), { path: "/v1/layers/a", signal }),
      /PeerRefusal: \/v1\/layers\/a is not for api-server/,
    ],
  ])("%s", async (_who, attempt, answer) => {
    expect(await why(attempt())).toMatch(answer);
  });

  test("finds out when somebody else answers in the node's place", async () => {
    const attempt = as(API_SERVER).request(here(OTHER), { path: "/v1/echo/a", signal });
    expect(await why(attempt)).toMatch(/expected node-agent node-2, but the certificate is that of/);
  });
});

/** TLS without a client's certificate; in TLS 1.3 the refusal comes after the handshake. */
const plainRequest = async (): Promise<void> => {
  const [host, port] = (server.endpoint() ?? "").split(":");
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
  socket.on("secureConnect", () => socket.write("GET /v1/layers/a HTTP/1.1\r\nhost: a\r\n\r\n"));
  const [data] = (await Promise.race([once(socket, "data"), once(socket, "close")])) as [Buffer | boolean];
  socket.destroy();
  throw new Error(Buffer.isBuffer(data) ? data.toString() : "closed");
};

describe("what is asked", () => {
  test.each([
    ["has no such path", "GET", "/v1/nothing", /404|there is no/],
    ["has a path with something in it that leads elsewhere", "GET", "/v1/layers/..%2fa", /there is no/],
    ["is asked in another way", "POST", "/v1/layers/a", /cannot be asked for by POST/],
    ["is a stream", "GET", "/v1/streams/a", /ask with Upgrade/],
    [
      "fails, and says nothing of how",
      "POST",
      "/v1/fail",
      /PeerRefusal: the node agent has failed; its log says how/,
    ],
  ] as const)("%s", async (_what, method, path, answer) => {
    expect(await why(as(OTHER).request(here(), { method, path, signal }))).toMatch(answer);
  });

  test("may be large, and be answered with much", async () => {
    const body = Readable.from(Array.from({ length: 32 }, () => Buffer.alloc(65_536)));
    const sent = await as(OTHER).request(here(), { method: "PUT", path: "/v1/layers/a", body, signal });
    expect([sent.statusCode, await text(sent)]).toEqual([201, String(32 * 65_536)]);
    const got = await as(OTHER).request(here(), { path: "/v1/layers/a", signal });
    expect((await buffer(got)).length).toBe(1_000_010);
  });

  test("and breaks in the middle of the answer never looks complete", async () => {
    const response = await as(OTHER).request(here(), { path: "/v1/broken", signal });
    await expect(buffer(response)).rejects.toThrow(/aborted/);
  });
});

/** However it ends. */
const closeOf = (stream: Duplex): Promise<void> =>
  new Promise((resolve) => {
    stream.on("error", () => {});
    stream.once("close", () => resolve());
  });

describe("a stream", () => {
  test("carries bytes both ways, and ends on both sides", async () => {
    const stream = await as(OTHER).upgrade(here(), { path: "/v1/streams/a", signal });
    stream.end(Buffer.from([0, 255, 10]));
    expect(await buffer(stream)).toEqual(Buffer.from([0, 255, 10]));
  });

  test("is refused in the handler's words", async () => {
    const attempt = as(OTHER).upgrade(here(), { path: "/v1/streams/off", signal });
    expect(await why(attempt)).toBe("PeerRefusal: the guest is off");
  });

  test("ends for the handler when the caller leaves", async () => {
    const stream = await as(OTHER).upgrade(here(), { path: "/v1/streams/a", signal });
    const ended = once(lastSignal ?? signal, "abort");
    stream.destroy();
    await ended;
    expect(lastSignal?.aborted).toBe(true);
  });

  test("ends when the caller's signal is aborted, and when the server does", async () => {
    const leaving = new AbortController();
    const one = await as(OTHER).upgrade(here(), { path: "/v1/streams/a", signal: leaving.signal });
    const oneClosed = closeOf(one);
    leaving.abort();
    await oneClosed;
    const two = await as(OTHER).upgrade(here(), { path: "/v1/streams/a", signal });
    const twoClosed = closeOf(two);
    await stop();
    await twoClosed;
    expect([one.destroyed, two.destroyed, server.endpoint()]).toEqual([true, true, undefined]);
  });
});

test("a renewed certificate holds for the next connection, and the open ones stay", async () => {
  const stream = await as(OTHER).upgrade(here(), { path: "/v1/streams/a", signal });
  const replacement = testAuthority();
  credentials.change({ ...materialFor(NODE, replacement), authorities: replacement.certificate });
  const newcomer = clientOf({ ...materialFor(OTHER, replacement) });
  const response = await newcomer.request(here(), { path: "/v1/layers/a", signal });
  response.resume();
  expect(response.statusCode).toBe(200);
  expect(await why(as(OTHER).request(here(), { path: "/v1/layers/a", signal }))).toMatch(/PeerUnreachable/);
  stream.end("still here");
  expect(await text(stream)).toBe("still here");
});

test("when the node has another address the server listens there, and open streams go on", async () => {
  const stream = await as(OTHER).upgrade(here(), { path: "/v1/streams/a", signal });
  const before = server.endpoint();
  host = "127.0.0.2";
  await waitFor("another endpoint", () => {
    clock.travel(10_000);
    return server.endpoint()?.startsWith("127.0.0.2:") === true;
  });
  const response = await as(OTHER).request(here(), { path: "/v1/layers/a", signal });
  response.destroy();
  expect([before, response.statusCode]).toEqual([expect.stringMatching(/^127\.0\.0\.1:/), 200]);
  stream.end("still here");
  expect(await text(stream)).toBe("still here");
});

test("who leaves in the middle of an answer is no failure of the agent", async () => {
  const response = await as(OTHER).request(here(), { path: "/v1/endless", signal });
  response.destroy();
  await waitFor("the end in the log", () =>
    logger.lines.some(({ message }) => message === "the caller has left"),
  );
  expect(logger.lines.filter(({ level }) => level === "warn" || level === "error")).toEqual([]);
});

test("the log says who has asked for what of which machine", async () => {
  const headers = { [REQUESTER_HEADER]: "ann" };
  const response = await as(API_SERVER).request(here(), { path: "/v1/echo/u-1?secret=x", headers, signal });
  await text(response);
  expect(logger.lines.filter(({ message }) => message === "answered")).toMatchObject([
    {
      fields: { peer: "api-server", requester: "ann", machineUid: "u-1", path: "/v1/echo/u-1", status: 200 },
    },
  ]);
});
