import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { createServer } from "node:http";
import { getEventListeners, once } from "node:events";
import { ApiError, TransportError } from "../../../src/kube/api-error.ts";
import { createKubeClient, type KubeClient } from "../../../src/kube/client.ts";
import { createMetrics } from "../../../src/kube/metrics.ts";
import { FakeKubeApiServer, type Fault } from "../../fakes/kube-api-server.ts";
import { widgets } from "../../fakes/widgets.ts";

const { signal } = new AbortController();
const key = { namespace: "shop", name: "web" };
const web = { metadata: key, spec: { size: 1 } };

describe("createKubeClient", () => {
  let server: FakeKubeApiServer;
  let client: KubeClient;
  /** For what is never answered; a busy machine takes its time for all else. */
  let hasty: KubeClient;
  const metrics = createMetrics();

  beforeEach(async () => {
    server = new FakeKubeApiServer();
    await server.start();
    client = createKubeClient({ kubeConfig: server.kubeConfig(), metrics });
    hasty = createKubeClient({ kubeConfig: server.kubeConfig(), metrics, requestTimeoutMs: 300 });
  });
  afterEach(async () => {
    await client.close();
    await hasty.close();
    await server.stop();
  });

  test("a refusal carries the status, the reason, the request in words and the time to wait", async () => {
    server.failNext("get", { kind: "status", status: 429, retryAfterSeconds: 7 });
    const error = await client.get(widgets, key, { signal }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      status: 429,
      reason: "Injected",
      retryAfterMs: 7000,
      isRetryable: true,
      isConflict: false,
      message: "get Widget shop/web: 429 Injected: injected by the test",
    });
  });

  test("a conflict says so", async () => {
    await client.create(widgets, web, { signal });
    await expect(client.create(widgets, web, { signal })).rejects.toMatchObject({
      isConflict: true,
      status: 409,
    });
  });

  test.each([
    ["a connection that breaks", { kind: "drop" }],
    ["a server that does not answer", { kind: "hang" }],
    ["a server that stops in the middle of its answer", { kind: "silent" }],
    ["an answer that is not JSON", { kind: "garbage" }],
  ] satisfies [string, Fault][])("%s is a TransportError within the deadline", async (_sentence, fault) => {
    server.failNext("get", fault);
    const error = await hasty.get(widgets, key, { signal }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(TransportError);
    expect(String(error)).toContain("get Widget shop/web");
  });

  test("a write whose answer was lost is a TransportError, and may have been done", async () => {
    server.failNext("create", { kind: "lose-answer" });
    await expect(client.create(widgets, web, { signal })).rejects.toBeInstanceOf(TransportError);
    expect(await client.get(widgets, key, { signal })).toMatchObject({ spec: { size: 1 } });
  });

  test("a refused connection is a TransportError, and a server that comes back is found", async () => {
    await client.create(widgets, web, { signal });
    await server.stop();
    await expect(client.get(widgets, key, { signal })).rejects.toThrow(/ECONNREFUSED/u);
    await server.start();
    expect(await client.get(widgets, key, { signal })).toBeDefined();
  });

  test("an abort rejects with its own reason, and closes the connection", async () => {
    const controller = new AbortController();
    server.failNext("get", { kind: "hang" });
    const reading = client.get(widgets, key, { signal: controller.signal });
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
  });

  test("a list is read in pages, and read in one when the history is compacted between two", async () => {
    for (let index = 0; index < 1203; index += 1)
      server.objects.create(
        { collection: "test.vireo.dev/v1/widgets", namespace: "shop", name: `w-${index}` },
        { metadata: {} },
        "test",
      );
    expect((await client.list(widgets, { signal })).items).toHaveLength(1203);
    expect(server.requests.map(({ query }) => query.get("limit"))).toEqual(["500", "500", "500"]);
    server.requests.length = 0;
    server.onRequest = () => server.compact();
    expect((await client.list(widgets, { signal })).items).toHaveLength(1203);
    expect(server.requests.map(({ query }) => query.get("limit"))).toEqual(["500", "500", null]);
  });

  test("connections are used again, and requests say who asks", async () => {
    const polite = createKubeClient({ kubeConfig: server.kubeConfig(), userAgent: "vireo-test" });
    for (let round = 0; round < 20; round += 1) await polite.get(widgets, key, { signal });
    expect(server.connectionCount).toBeLessThanOrEqual(2);
    expect(server.requests[0]?.headers["user-agent"]).toBe("vireo-test");
    await polite.close();
  });

  test("requests are counted by verb, kind and code", async () => {
    metrics.registry.resetMetrics();
    server.failNext("get", { kind: "status", status: 503 });
    await client.get(widgets, key, { signal }).catch(() => {});
    server.failNext("get", { kind: "drop" });
    await client.get(widgets, key, { signal }).catch(() => {});
    await client.get(widgets, key, { signal });
    const text = await metrics.registry.metrics();
    for (const code of ["503", "error", "404"])
      expect(text).toContain(`vireo_api_requests_total{verb="get",kind="Widget",code="${code}"} 1`);
  });
});

test("a caller's signal that lives long gathers no listeners", async () => {
  const server = new FakeKubeApiServer();
  await server.start();
  const client = createKubeClient({ kubeConfig: server.kubeConfig() });
  const controller = new AbortController();
  for (let round = 0; round < 10; round += 1) await client.get(widgets, key, { signal: controller.signal });
  expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  await client.close();
  await server.stop();
});

test("the token is sent as it is now: a rotated one is taken up", async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(404, { "content-type": "application/json" }).end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const { KubeConfig } = await import("@kubernetes/client-node");
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromClusterAndUser(
    { name: "c", server: `http://127.0.0.1:${port}/prefix/`, skipTLSVerify: true },
    { name: "u", token: "first" },
  );
  let time = 0;
  const clock = { now: () => time, monotonic: () => time, after: () => () => {} };
  const client = createKubeClient({ kubeConfig, clock });
  await client.get(widgets, key, { signal });
  kubeConfig.users = [{ name: "u", token: "second" }];
  await client.get(widgets, key, { signal });
  time += 60_000;
  await client.get(widgets, key, { signal });
  expect(seen).toEqual(["Bearer first", "Bearer first", "Bearer second"]);
  await client.close();
  server.close();
});
