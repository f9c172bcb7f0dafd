import { EventEmitter } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { whenAborted } from "../../../src/kube/abort.ts";
import { createHealthServer, type HealthServer } from "../../../src/kube/health.ts";
import { createHeartbeat } from "../../../src/kube/lease.ts";
import { createKubeClient } from "../../../src/kube/client.ts";
import { createLogger, loggerFor, silentLogger } from "../../../src/kube/logger.ts";
import { createMetrics } from "../../../src/kube/metrics.ts";
import { ShutdownError, runTogether, runUntilShutdown } from "../../../src/kube/run.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";
import { ManualClock, settle } from "../../fakes/manual-clock.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";
import { waitFor } from "../../testbed/wait.ts";

describe("createHealthServer", () => {
  let health: HealthServer;
  let stop: AbortController;
  let base: string;
  let closed: Promise<void>;

  beforeEach(async () => {
    stop = new AbortController();
    const metrics = createMetrics();
    metrics.leader.set({ lease: "x" }, 1);
    health = createHealthServer({ host: "127.0.0.1", port: 0, metrics, logger: silentLogger });
    const listening = await health.listen(stop.signal);
    base = `http://127.0.0.1:${listening.port}`;
    closed = listening.closed;
  });
  afterEach(async () => {
    stop.abort();
    await closed;
  });

  const ask = async (path: string): Promise<[number, string]> => {
    const response = await fetch(base + path, { headers: { connection: "close" } });
    return [response.status, await response.text()];
  };

  test("is well when no check says otherwise", async () => {
    expect(await ask("/healthz")).toEqual([200, "ok\n"]);
    expect(await ask("/readyz?verbose")).toEqual([200, "ok\n"]);
  });

  test("readiness names what is missing, a check that throws too, and does not touch liveness", async () => {
    let problem: string | undefined = "3 of 7 stores are not in sync";
    health.addReadinessCheck("stores", () => problem);
    health.addReadinessCheck("lease", () => undefined);
    health.addReadinessCheck("broken", () => {
      if (problem !== undefined) throw new Error("oops");
      return undefined;
    });
    expect(await ask("/readyz")).toEqual([
      503,
      "[-]stores failed: 3 of 7 stores are not in sync\n[+]lease ok\n[-]broken failed: oops\nfailed\n",
    ]);
    expect(await ask("/healthz")).toEqual([200, "ok\n"]);
    problem = undefined;
    expect((await ask("/readyz"))[0]).toBe(200);
  });

  test("liveness checks count for /healthz", async () => {
    health.addLivenessCheck("loop", () => "stuck");
    expect(await ask("/healthz")).toEqual([503, "[-]loop failed: stuck\nfailed\n"]);
  });

  test("metrics are Prometheus text", async () => {
    const [status, text] = await ask("/metrics");
    expect(status).toBe(200);
    expect(text).toContain('vireo_leader{lease="x"} 1');
  });

  test("anything else is not there", async () => {
    expect((await ask("/etc/passwd"))[0]).toBe(404);
  });

  test("a port that is taken is an error, not silence", async () => {
    const port = Number(new URL(base).port);
    const second = createHealthServer({
      host: "127.0.0.1",
      port,
      metrics: createMetrics(),
      logger: silentLogger,
    });
    await expect(second.listen(stop.signal)).rejects.toThrow("EADDRINUSE");
  });
});

describe("createLogger", () => {
  test("writes a JSON line with level, time, component, the object and the error", () => {
    const lines: string[] = [];
    const logger = createLogger({
      component: "controller",
      destination: { write: (line) => void lines.push(line) },
    });
    loggerFor(logger, { namespace: "shop", name: "web" }).warn({ err: new Error("why") }, "that");
    logger.debug({}, "not at this level");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        level: "warn",
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/u),
        component: "controller",
        object: "shop/web",
        err: expect.objectContaining({ type: "Error", message: "why", stack: expect.any(String) }),
        msg: "that",
      },
    ]);
  });

  test("the silent one says nothing, nor do its children", () => {
    expect(silentLogger.child({})).toBe(silentLogger);
    for (const level of ["debug", "info", "warn", "error"] as const)
      expect(silentLogger[level]({}, "x")).toBeUndefined();
  });
});

describe("createMetrics", () => {
  test("two of them do not meet, and the process is measured on request", async () => {
    const plain = createMetrics();
    const withProcess = createMetrics({ process: true });
    plain.leader.set({ lease: "x" }, 1);
    expect(await withProcess.registry.metrics()).not.toContain('lease="x"');
    expect(await withProcess.registry.metrics()).toContain("process_resident_memory_bytes");
    expect(await plain.registry.metrics()).not.toContain("process_resident_memory_bytes");
  });
});

const polite = async (signal: AbortSignal): Promise<void> => {
  await whenAborted(signal);
  throw signal.reason;
};
const rude = async (signal: AbortSignal): Promise<void> => {
  await whenAborted(signal);
  throw new Error("could not clean up");
};

describe("runTogether", () => {
  test("ends when it is aborted and all have ended", async () => {
    const stop = new AbortController();
    const ended = runTogether({ a: whenAborted, b: whenAborted }, stop.signal);
    stop.abort();
    await expect(ended).resolves.toBeUndefined();
  });

  test("one failure aborts the others, and is the failure of all", async () => {
    let wasAborted = false;
    const b = async (signal: AbortSignal): Promise<void> => {
      await whenAborted(signal);
      wasAborted = true;
    };
    const run = runTogether(
      { a: () => Promise.reject(new Error("broken")), b },
      new AbortController().signal,
    );
    await expect(run).rejects.toThrow("broken");
    expect(wasAborted).toBe(true);
  });

  test("one that ends unasked is a failure", async () => {
    const run = runTogether({ a: async () => {}, b: whenAborted }, new AbortController().signal);
    await expect(run).rejects.toThrow("a ended, although nobody asked it to");
  });

  test("rejecting with the abort's reason is a proper end, anything else is not", async () => {
    const stop = new AbortController();
    const first = runTogether({ polite }, stop.signal);
    const second = runTogether({ polite, rude }, stop.signal);
    stop.abort(new ShutdownError("end"));
    await expect(first).resolves.toBeUndefined();
    await expect(second).rejects.toThrow("could not clean up");
  });
});

const setUp = (run: (signal: AbortSignal) => Promise<void>) => {
  const source = new EventEmitter();
  const clock = new ManualClock();
  const logger = createRecordingLogger();
  const code = runUntilShutdown({ logger, run, source, clock, graceMs: 5000 });
  return { source, clock, logger, code };
};

describe("runUntilShutdown", () => {
  test("SIGTERM aborts the program, and its end is success", async () => {
    const { source, clock, code } = setUp(whenAborted);
    source.emit("SIGTERM", "SIGTERM");
    expect(await code).toBe(0);
    expect([clock.pendingTimers, source.listenerCount("SIGTERM"), source.listenerCount("SIGINT")]).toEqual([
      0, 0, 0,
    ]);
  });

  test("rejecting with the signal's reason is success too", async () => {
    const { source, code } = setUp(async (signal) => {
      await whenAborted(signal);
      throw signal.reason;
    });
    source.emit("SIGINT", "SIGINT");
    expect(await code).toBe(0);
  });

  test("a program that fails is a failure, with the error in the log", async () => {
    const { logger, code } = setUp(() => Promise.reject(new Error("broken")));
    expect(await code).toBe(1);
    expect(logger.lines).toContainEqual(
      expect.objectContaining({ level: "error", message: "the program failed" }),
    );
  });

  test("one that does not end in time is left", async () => {
    const { source, clock, code } = setUp(() => new Promise(() => {}));
    source.emit("SIGTERM", "SIGTERM");
    await clock.advance(5000);
    expect(await code).toBe(1);
  });

  test("asked twice it leaves at once", async () => {
    const { source, code } = setUp(() => new Promise(() => {}));
    source.emit("SIGINT", "SIGINT");
    source.emit("SIGINT", "SIGINT");
    expect(await code).toBe(1);
  });
});

describe("createHeartbeat", () => {
  const address = { collection: "coordination.k8s.io/v1/leases", namespace: "vireo-nodes", name: "node-1" };

  test("makes the Lease, renews it with one write per beat, and goes on after failures", async () => {
    const server = new FakeKubeApiServer();
    await server.start();
    const client = createKubeClient({ kubeConfig: server.kubeConfig() });
    const clock = new ManualClock();
    const logger = createRecordingLogger();
    const stop = new AbortController();
    const heartbeat = createHeartbeat({
      client,
      namespace: "vireo-nodes",
      name: "node-1",
      identity: "node-1",
      logger,
      clock,
      labels: { a: "b" },
    });
    expect(heartbeat.sinceRenewalMs()).toBeUndefined();
    const ended = heartbeat.run(stop.signal);
    const beats = (count: number): Promise<unknown> =>
      waitFor(`${count} requests`, () => server.requests.length === count && clock.pendingTimers === 1, {
        intervalMs: 2,
      });
    await beats(2);
    expect(server.objects.get(address)).toMatchObject({
      metadata: { labels: { a: "b" } },
      spec: { holderIdentity: "node-1", leaseDurationSeconds: 40, renewTime: "2026-01-01T00:00:00.000000Z" },
    });
    server.failNext("patch", { kind: "status", status: 500 });
    await clock.advance(10_000);
    await beats(3);
    expect(heartbeat.sinceRenewalMs()).toBe(10_000);
    await clock.advance(10_000);
    await beats(4);
    expect(heartbeat.sinceRenewalMs()).toBe(0);
    expect(server.objects.get(address)).toMatchObject({ spec: { renewTime: "2026-01-01T00:00:20.000000Z" } });
    expect(logger.lines.map(({ message }) => message)).toEqual(["heartbeat failed"]);
    stop.abort();
    await settle();
    await ended;
    await client.close();
    await server.stop();
  });
});
