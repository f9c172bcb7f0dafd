import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { type AuditFilter, readAuditLog } from "../testbed/audit.ts";
import { networks } from "../../src/api/network.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { guestOf } from "./support/guest.ts";
import { manifests } from "./support/manifests.ts";
import { countReconciles, untilReconciled } from "./support/metrics.ts";
import { conditionOf, startStage, type Stage } from "./support/stage.ts";

/**
 * What a machine costs the API server: counted from its audit log, refused
 * writes included. The names of controllers are those in their metrics.
 */
const AGENT = "machine";
const CONTROLLER = "virtual-machine";
const SERVICE_ACCOUNT = /^system:serviceaccount:vireo-system:/;

let stage: Stage;

const ofVireo = async (filter: AuditFilter) =>
  (await readAuditLog(stage.testbed.controlPlane.auditLogPath, filter))
    .filter(({ user }) => SERVICE_ACCOUNT.test(user.username))
    .map(({ user, verb, objectRef }) => {
      const writer = user.username.replace(SERVICE_ACCOUNT, "");
      return { writer, verb, objectRef };
    });

/** What Vireo has written, on whatever, oldest first: "vireo-controller patch networks/test". */
const writes = async (): Promise<readonly string[]> =>
  (await ofVireo({}))
    // A fresh agent reports its node anew.
    .filter(({ objectRef }) => objectRef?.resource !== "hypervisors")
    .map(({ writer, verb, objectRef }) => `${writer} ${verb} ${objectRef?.resource}/${objectRef?.name}`);

/** Who of Vireo wrote what of a machine, oldest first: "vireo-node-agent patch status". */
const writesOn = async (name: string): Promise<readonly string[]> =>
  (await ofVireo({ resource: "virtualmachines", name })).map(({ writer, verb, objectRef }) =>
    [writer, verb, objectRef?.subresource ?? objectRef?.resource].join(" "),
  );

/** What follows a machine's start by itself: its network counts it, and its group says that it is guarded. */
const untilAllIsSaid = async (): Promise<void> => {
  await stage.until(networks, "test", ({ status }) => status?.addresses?.allocated === 2);
  await stage.until(
    securityGroups,
    "default",
    (group) => group.status?.members === 2 && conditionOf(group, "Ready")?.status === "True",
  );
};

const [FINALIZER, PLACEMENT, AGENT_STATUS] = [
  "vireo-controller patch virtualmachines",
  "vireo-controller patch status",
  "vireo-node-agent patch status",
] as const;

const agent = () => stage.testbed.agent("node-1");

beforeAll(async () => {
  stage = await startStage({ nodes: 1 });
  await stage.applyBasics();
  // The node has the image from now on.
  await stage.apply(manifests.machine("first"));
  await stage.untilStatus("first", "Running");
}, 180_000);

afterAll(() => stage.stop(), 60_000);

describe("a machine on a node that holds the image", () => {
  test("starts for three writes: finalizer, placement, and the agent's word that it runs", async () => {
    await stage.apply(manifests.machine("counted"));
    await stage.untilStatus("counted", "Running");
    expect(await writesOn("counted")).toEqual([FINALIZER, PLACEMENT, AGENT_STATUS]);
  }, 120_000);

  test("costs nothing once it is settled, whoever is restarted and looks at it again", async () => {
    await untilAllIsSaid();
    const before = await writes();

    await agent().restart();
    await agent().ready();
    // Of a fresh process, each machine's first look, and the sweep that follows it.
    await untilReconciled(agent(), AGENT, 1);

    await stage.testbed.controller.restart();
    await stage.testbed.controller.ready();
    await untilReconciled(stage.testbed.controller, CONTROLLER, 1);

    expect(await writes()).toEqual(before);

    const looks = await countReconciles(agent(), AGENT);
    await stage.testbed.node("node-1").killLibvirtd("SIGKILL");
    await stage.testbed.node("node-1").startLibvirtd();
    await untilReconciled(agent(), AGENT, looks + 1);

    expect(await writesOn("counted")).toEqual([FINALIZER, PLACEMENT, AGENT_STATUS]);
  }, 180_000);

  test("costs nothing when somebody changes what is not in its spec", async () => {
    const before = await writesOn("counted");
    const looks = await countReconciles(agent(), AGENT);
    await stage.testbed.kubectl(["annotate", "vm", "counted", "example.com/note=hello"]);
    await untilReconciled(agent(), AGENT, looks);
    expect(await writesOn("counted")).toEqual(before);
  }, 60_000);

  test("stops for two writes: that it was asked to, and that it is off", async () => {
    const before = await writesOn("counted");
    await stage.patchMachine("counted", { runStrategy: "Halted", terminationGracePeriodSeconds: 1 });
    await stage.untilStatus("counted", "Stopped");
    expect((await writesOn("counted")).slice(before.length)).toEqual([AGENT_STATUS, AGENT_STATUS]);
  }, 120_000);

  test("starts again for one write", async () => {
    const before = await writesOn("counted");
    await stage.patchMachine("counted", { runStrategy: "Always" });
    await stage.untilStatus("counted", "Running");
    expect((await writesOn("counted")).slice(before.length)).toEqual([AGENT_STATUS]);
  }, 120_000);

  test("crashes for two writes: its end, before it is started again, and that it runs", async () => {
    const before = await writesOn("counted");
    await (await guestOf(stage, "counted")).crash();
    const again = await stage.until(
      virtualMachines,
      "counted",
      ({ status }) => status?.guest?.restarts === 1 && status.guest.powerState === "Running",
    );
    expect((await writesOn("counted")).slice(before.length)).toEqual([AGENT_STATUS, AGENT_STATUS]);
    const { lastExit, startedAt = "" } = again.status?.guest ?? {};
    expect(conditionOf(again, "Ready")?.status).toBe("True");
    expect(Date.parse(lastExit?.at ?? "")).toBeLessThanOrEqual(Date.parse(startedAt));
  }, 120_000);

  test("is deleted for four writes: asked to stop, off, released, finalizer", async () => {
    const before = await writesOn("counted");
    await stage.deleteMachines("counted");
    const after = (await writesOn("counted")).slice(before.length);
    expect(after.at(-1)).toBe(FINALIZER);
    expect(after.length).toBeLessThanOrEqual(4);
  }, 120_000);
});
