import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, startStage, type Stage } from "./support/stage.ts";

/** Probes of real guests, whose ssh server answers some time after they were switched on. */
let stage: Stage;

beforeAll(async () => {
  stage = await startStage({ nodes: 1 });
  await stage.applyBasics();
}, 180_000);

afterAll(() => stage.stop(), 60_000);

const SSH = { tcpSocket: { port: 22 }, periodSeconds: 1 };
/** Nothing in the guest listens there. */
const CLOSED = { tcpSocket: { port: 9 }, periodSeconds: 1, failureThreshold: 2 };

describe("a readiness probe", () => {
  test("holds Ready back until the guest answers, and speaks again when it no longer does", async () => {
    await stage.apply(manifests.machine("answers", { readinessProbe: SSH }));
    const running = await stage.untilStatus("answers", "Running");
    expect(conditionOf(running, "Ready")).toMatchObject({ status: "False", reason: "ReadinessProbeFailed" });
    await stage.until(virtualMachines, "answers", isReady);

    // A probe is part of what a machine is to be, and may change while it runs.
    await stage.patchMachine("answers", { readinessProbe: CLOSED });
    const failing = await stage.until(
      virtualMachines,
      "answers",
      (machine) => conditionOf(machine, "Ready")?.message.includes("connection refused") === true,
    );
    expect(conditionOf(failing, "Ready")).toMatchObject({ status: "False", reason: "ReadinessProbeFailed" });
    expect(failing.status?.guest).toEqual(running.status?.guest);
  }, 180_000);

  test("stays as it was found when the agent is restarted", async () => {
    await stage.patchMachine("answers", { readinessProbe: { ...SSH, periodSeconds: 3600 } });
    await stage.patchMachine("answers", { readinessProbe: SSH });
    const before = await stage.until(virtualMachines, "answers", isReady);
    const agent = stage.testbed.agent("node-1");
    await agent.restart();
    await agent.ready();
    await stage.patchMachine("answers", { readinessProbe: { ...SSH, successThreshold: 2 } });
    const after = await stage.until(
      virtualMachines,
      "answers",
      ({ metadata, status }) => status?.observedGeneration === metadata.generation,
    );
    expect(conditionOf(after, "Ready")?.lastTransitionTime).toBe(
      conditionOf(before, "Ready")?.lastTransitionTime,
    );
  }, 120_000);
});

describe("a liveness probe that fails", () => {
  test("ends a machine that is to run once", async () => {
    await stage.apply(manifests.machine("once", { runStrategy: "Once", livenessProbe: CLOSED }));
    const ended = await stage.untilStatus("once", "Failed");
    expect(ended.status?.guest).toMatchObject({
      powerState: "ShutOff",
      lastExit: { reason: "LivenessProbeFailed" },
    });
  }, 180_000);

  test("has a machine started again that is always to run", async () => {
    await stage.apply(manifests.machine("always", { livenessProbe: CLOSED }));
    const again = await stage.until(
      virtualMachines,
      "always",
      ({ status }) => status?.guest?.restarts === 1 && status.guest.powerState === "Running",
    );
    expect(again.status?.guest?.lastExit?.reason).toBe("LivenessProbeFailed");
  }, 180_000);
});
