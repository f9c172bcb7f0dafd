import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { setTimeout as delay } from "node:timers/promises";

import { findCondition, isTrue } from "../../../../src/api/condition.ts";
import { hypervisors } from "../../../../src/api/hypervisor.ts";
import { type VirtualMachine, virtualMachines } from "../../../../src/api/virtual-machine.ts";
import { type Volume, volumes } from "../../../../src/api/volume.ts";
import { createVolumeController } from "../../../../src/controllers/volume/controller.ts";
import type { Json } from "../../../fakes/kube-api-flat.ts";
import { FakeKubeApiServer } from "../../../fakes/kube-api-server.ts";
import { waitFor } from "../../../testbed/wait.ts";
import { machineOf, volumeWith } from "../disk-objects.ts";
import { hypervisorWith, readyCondition } from "../objects.ts";
import { addressOf, type ControllerRun, put, runController, type RunOptions } from "../world.ts";

/**
 * The life of a Volume that two machines want, told to a controller that hears of
 * everything late and dies at any of its writes, or to two that race.
 */

let server: FakeKubeApiServer;
let runs: ControllerRun[];
let violations: string[];

beforeEach(async () => {
  server = new FakeKubeApiServer();
  await server.start();
  runs = [];
  violations = [];
  put(server, hypervisors, hypervisorWith());
  watchOver();
});

afterEach(async () => {
  await Promise.all(runs.map((run) => run.stop().catch(() => {})));
  await server.stop();
});

const start = (options: RunOptions = {}): ControllerRun => {
  const run = runController(server, createVolumeController, { lag: () => delay(3), ...options });
  runs.push(run);
  return run;
};

/** Dies, is started again, dies later, and so on until it does not. */
const startMortal = async (when: "before" | "after", signal: AbortSignal): Promise<void> => {
  for (let atWrite = 1; !signal.aborted; atWrite = (atWrite % 3) + 1) {
    const run = start({ death: { atWrite, when } });
    const stop = (): void => void run.stop().catch(() => {});
    signal.addEventListener("abort", stop, { once: true });
    await run.ended.catch(() => {});
    signal.removeEventListener("abort", stop);
  }
};

const listed = (resource: typeof volumes | typeof virtualMachines) =>
  server.objects.list(addressOf(resource, volumeWith().metadata).collection, "default");

const volume = (name = "data"): Volume | undefined =>
  listed(volumes)
    .filter(({ metadata }) => metadata.name === name)
    .map((object) => volumes.parse(object))[0];

const machine = (name: string): VirtualMachine => {
  const found = listed(virtualMachines).find(({ metadata }) => metadata.name === name);
  if (found === undefined) throw new Error(`no machine ${name}`);
  return virtualMachines.parse(found);
};

const patch = (resource: typeof volumes | typeof virtualMachines, name: string, body: Json): void => {
  const address = addressOf(resource, { ...volumeWith().metadata, name });
  server.objects.patch(address, body, "spec" in body ? undefined : "status", "tester");
};

/** Everything that must be true whenever the Volume's status is written. */
const watchOver = (): void => {
  server.objects.onWrite(({ collection, before, after }) => {
    if (!collection.endsWith("/volumes") || before === undefined || after === undefined) return;
    if (after.metadata.name !== "data") return;
    const [then, now] = [volumes.parse(before).status, volumes.parse(after).status];
    if (then?.nodeName !== undefined && then.nodeName !== now?.nodeName) violations.push("it has moved");
    const lost = then?.attachedTo;
    if (lost !== undefined && lost.uid !== now?.attachedTo?.uid && isUsing(lost.name))
      violations.push(`it was taken from ${lost.name}`);
    const wasGivenUp = findCondition(then?.conditions, "InUse")?.status === "False";
    if (wasGivenUp && isTrue(now?.conditions, "InUse")) violations.push("it was taken back");
  });
};

const isUsing = (name: string): boolean => (machine(name).status?.guest?.volumes ?? []).length > 0;

/** What the machines' controller and agent do: give what is reserved, attach it, let go of what is not named. */
const serve = (name: string): void => {
  const { metadata, spec, status } = machine(name);
  const { attachedTo } = volume()?.status ?? {};
  const uid = volume()?.metadata.uid;
  const isNamed = spec.volumes.some((wanted) => wanted.name === "data");
  const isGiven = isNamed && attachedTo?.uid === metadata.uid && uid !== undefined;
  patch(virtualMachines, name, {
    status: {
      observedGeneration: metadata.generation,
      allocation: { ...status?.allocation, volumes: isGiven ? [{ name: "data", uid }] : [] },
      guest: { ...status?.guest, volumes: isGiven ? [{ name: "data", uid, state: "Attached" }] : [] },
    },
  });
};

const make = (): void => {
  const ready = readyCondition("True", "Ready");
  const others = (volume()?.status?.conditions ?? []).filter(({ type }) => type !== "Ready");
  patch(volumes, "data", {
    status: { phase: "Available", sizeMiB: 1024, observedGeneration: 1, conditions: [...others, ready] },
  });
};

const release = (): void => {
  const released = { ...readyCondition("True", "Released"), type: "Released" };
  patch(volumes, "data", { status: { conditions: [...(volume()?.status?.conditions ?? []), released] } });
};

const untilHolder = (name: string | undefined): Promise<boolean> =>
  waitFor(`the Volume for ${name ?? "nobody"}`, () => volume()?.status?.attachedTo?.name === name);

/** What was done before has been seen: a Volume that is made now is looked at after it. */
const untilSeen = (mark: string): Promise<boolean> => {
  put(server, volumes, volumeWith({ size: "2Gi" }, { name: mark }));
  return waitFor(`${mark} seen`, () => volume(mark)?.status?.phase !== undefined);
};

/** From its making to its end, with everybody else prompt. */
const live = async (): Promise<void> => {
  put(server, volumes, volumeWith());
  put(server, virtualMachines, machineOf("web", { names: ["data"] }));
  await untilHolder("web");
  await waitFor("a node", () => volume()?.status?.nodeName === "node-1");
  make();
  serve("web");
  put(server, virtualMachines, machineOf("api", { names: ["data"] }));
  patch(virtualMachines, "web", { spec: { volumes: [] } });
  await untilSeen("detached");
  expect(volume()?.status?.attachedTo?.name).toBe("web");
  serve("web");
  await untilHolder("api");
  serve("api");
  server.objects.delete(addressOf(volumes, volumeWith().metadata), {});
  await waitFor("the Volume protected", () => isTrue(volume()?.status?.conditions, "InUse"));
  patch(virtualMachines, "api", { spec: { volumes: [] } });
  await untilSeen("let-go");
  expect(isTrue(volume()?.status?.conditions, "InUse")).toBe(true);
  serve("api");
  await waitFor(
    "the Volume given up",
    () => findCondition(volume()?.status?.conditions, "InUse")?.status === "False",
  );
  release();
  await waitFor("the Volume gone", () => volume() === undefined);
};

test("one controller", async () => {
  start();
  await live();
  expect(violations).toEqual([]);
});

test("two controllers that both believe to lead", async () => {
  start();
  start();
  await live();
  expect(violations).toEqual([]);
});

test.each(["before", "after"] as const)("a controller that dies %s each of its writes", async (when) => {
  const world = new AbortController();
  const mortal = startMortal(when, world.signal);
  try {
    await live();
  } finally {
    world.abort();
    await mortal;
  }
  expect(violations).toEqual([]);
});
