import { setTimeout as delay } from "node:timers/promises";
import type { VireoProcess } from "../test/testbed/processes.ts";
import { cpuSeconds, residentMiB } from "./processes.ts";
import { createMachine, deleteMachines, isReady, type Stage, until } from "./stage.ts";
import { percentile } from "./statistics.ts";

const MACHINES = 20;
/** Longer than the agent's sweep, so that one is in it. */
const IDLE_MS = 90_000;

const pidOf = (process: VireoProcess): number => {
  if (process.pid === undefined) throw new Error(`${process.name} does not run`);
  return process.pid;
};

const memory = ({ testbed }: Stage) => ({
  controllerMiB: residentMiB(pidOf(testbed.controller)),
  agentMiB: residentMiB(pidOf(testbed.agent("node-1"))),
});

/** Share of one processor that the agent and what it starts take while nothing happens, in percent. */
const idleCpuPercent = async ({ testbed }: Stage): Promise<number> => {
  const pid = pidOf(testbed.agent("node-1"));
  const before = { cpu: cpuSeconds(pid), at: performance.now() };
  await delay(IDLE_MS);
  const seconds = (performance.now() - before.at) / 1000;
  return (100 * (cpuSeconds(pid) - before.cpu)) / seconds;
};

/** Twenty machines asked for at once, on one node. */
export const measureMany = async (stage: Stage) => {
  const empty = { ...memory(stage), idleCpuPercent: await idleCpuPercent(stage) };
  const names = Array.from({ length: MACHINES }, (_, index) => `many-${index}`);
  const began = performance.now();
  const times = await Promise.all(
    names.map(async (name) => {
      await createMachine(stage, name);
      return (await until(stage, name, isReady)) - began;
    }),
  );
  const full = { ...memory(stage), idleCpuPercent: await idleCpuPercent(stage) };
  await deleteMachines(stage, names);
  return { p50Ms: percentile(times, 0.5), p95Ms: percentile(times, 0.95), empty, full };
};
