import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { flavors } from "../../../src/api/flavor.ts";
import { hypervisors } from "../../../src/api/hypervisor.ts";
import { images } from "../../../src/api/image.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { networks } from "../../../src/api/network.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { runController } from "../../../src/controllers/program.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";
import { waitFor } from "../../testbed/wait.ts";
import { flavorWith, hypervisorWith, imageWith, keyPairWith, machineWith, networkWith } from "./objects.ts";
import { machinesOf, put } from "./world.ts";

let server: FakeKubeApiServer;
let directory: string;
let kubeconfig: string;

beforeEach(async () => {
  server = new FakeKubeApiServer();
  await server.start();
  directory = await mkdtemp(join(tmpdir(), "vireo-program-"));
  kubeconfig = join(directory, "kubeconfig");
  await writeFile(kubeconfig, server.kubeConfig().exportConfig());
});

afterEach(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

const start = (leaderElect: boolean) => {
  const logger = createRecordingLogger();
  const life = new AbortController();
  const config = {
    kubeconfig,
    leaderElect,
    maxParallelMigrations: 5,
    metrics: { host: "127.0.0.1", port: 0 },
  };
  const ended = runController({ config, logger }, life.signal);
  const url = (): Promise<string> =>
    waitFor("the port", () => {
      const port = logger.lines.find(({ fields }) => fields["port"] !== undefined)?.fields["port"];
      return typeof port === "number" ? `http://127.0.0.1:${port}` : undefined;
    });
  return {
    logger,
    get: async (path: string) => {
      const response = await fetch(`${await url()}${path}`);
      return { status: response.status, text: await response.text() };
    },
    stop: async () => {
      life.abort();
      await ended;
    },
  };
};

const makeEverything = (): void => {
  put(server, hypervisors, hypervisorWith());
  put(server, flavors, flavorWith());
  put(server, images, imageWith());
  put(server, keyPairs, keyPairWith());
  put(server, networks, networkWith());
  put(server, virtualMachines, machineWith());
};

const untilPlaced = (): Promise<boolean> =>
  waitFor("the machine placed", () =>
    machinesOf(server).every(({ status }) => status?.nodeName === "node-1"),
  );

const readyIn = (plural: string): readonly unknown[] =>
  server.objects
    .list(`vireo.dev/v1alpha1/${plural}`, undefined)
    .map(
      (object) =>
        (object["status"] as { conditions?: { status: string }[] } | undefined)?.conditions?.[0]?.status,
    );

test("the controller without an election works at once, tells its health and its numbers, and ends when asked", async () => {
  makeEverything();
  const controller = start(false);
  await untilPlaced();
  for (const plural of ["flavors", "images", "keypairs", "networks"])
    await waitFor(`${plural} Ready`, () => readyIn(plural).every((status) => status === "True"));
  await waitFor("readiness", async () => (await controller.get("/readyz")).status === 200);
  expect((await controller.get("/healthz")).status).toBe(200);
  const numbers = await waitFor("the numbers", async () => {
    const { text } = await controller.get("/metrics");
    if (!text.includes('vireo_network_addresses_allocated{network="lan"}')) throw new Error(text);
    return text;
  });
  expect(numbers).toContain('vireo_scheduling_attempts_total{result="placed"} 1');
  expect(numbers).toContain('vireo_virtual_machines{status="Provisioning"} 1');
  expect(numbers).toContain('vireo_virtual_machines{status="Running"} 0');
  expect(numbers).toContain('vireo_network_addresses_capacity{network="lan"} 253');
  await controller.stop();
  expect(controller.logger.lines.filter(({ level }) => level === "error")).toEqual([]);
});

test("of two controllers one works and the other is ready to; it takes over when the first ends", async () => {
  const first = start(true);
  await waitFor("the first to lead", () =>
    first.logger.lines.some(({ message }) => message === "started leading"),
  );
  const second = start(true);
  await waitFor("the second ready", async () => (await second.get("/readyz")).status === 200);
  expect(second.logger.lines.some(({ message }) => message === "started leading")).toBe(false);
  await first.stop();
  makeEverything();
  await untilPlaced();
  expect(second.logger.lines.some(({ message }) => message === "started leading")).toBe(true);
  await second.stop();
});
