import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import {
  virtualMachineMigrations,
  type VirtualMachineMigration,
} from "../../src/api/virtual-machine-migration.ts";
import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, NAMESPACE, type Stage, startStage } from "./support/stage.ts";

/** Emulated guests on a busy machine. */
const PATIENCE_MS = 300_000;

let stage: Stage;
let walker: Guest;
let peer: Guest;

beforeAll(async () => {
  stage = await startStage({ nodes: 2 });
  await stage.applyBasics();
  await stage.apply(
    manifests.securityGroup("open", { ingress: [{ remote: { cidrs: ["0.0.0.0/0"] } }] }),
    manifests.machine("walker", { securityGroups: ["open"] }),
    manifests.machine("peer", { securityGroups: ["open"] }),
  );
  for (const name of ["walker", "peer"]) await stage.until(virtualMachines, name, isReady);
  [walker, peer] = await Promise.all([guestOf(stage, "walker"), guestOf(stage, "peer")]);
  await Promise.all([walker.untilBooted(), peer.untilBooted()]);
}, 2 * PATIENCE_MS);

afterAll(() => stage.stop(), 60_000);

const isOver = ({ status }: VirtualMachineMigration): boolean =>
  ["Succeeded", "Failed", "Cancelled"].includes(status?.phase ?? "");

const migrate = async (name: string, machine: string, spec: object = {}): Promise<void> =>
  stage.apply(manifests.migration(name, machine, spec));

/** It has succeeded; otherwise the error shows what was said of it. */
const untilSucceeded = async (name: string): Promise<VirtualMachineMigration["status"]> => {
  const migration = await stage.until(virtualMachineMigrations, name, isOver, { timeoutMs: 180_000 });
  const { reason, message } = conditionOf(migration, "Ready") ?? {};
  expect(`${reason}: ${message}`).toMatch(/^Succeeded: /);
  return migration.status;
};

/** What is left of a machine on a node that it has been on. */
const filesOn = async (guest: Guest): Promise<string> =>
  guest.node.run(["find", "/var/lib/vireo", "-path", `*${guest.vmUid}*`, "-not", "-path", "*/consoles/*"]);

describe("a machine that runs", () => {
  let sent = 0;
  const echoed = async (): Promise<number> => Number(await peer.run("wc -l < /tmp/echo"));

  test(
    "moves with its snapshot, and a TCP connection to it goes on",
    async () => {
      await stage.apply(manifests.snapshot("before", "walker"));
      await stage.until(virtualMachineSnapshots, "before", isReady);
      await walker.run("echo remembered > /dev/shm/note; echo kept > /root/file; sync");
      const talk = "while :; do date; usleep 100000; done";
      await peer.run(`(${talk}) 2>/dev/null | nc ${walker.address} 7777 > /tmp/echo 2>/dev/null & sleep 1`);
      await waitFor("the echo", async () => (await echoed()) > 0, { timeoutMs: 60_000 });
      const [boot] = await walker.boots();
      await migrate("walk", "walker");
      const status = await untilSucceeded("walk");
      expect(status?.live).toBe(true);
      expect(status?.downtimeMilliseconds).toBeGreaterThan(0);
      const before = walker;
      await stage.until(virtualMachines, "walker", (machine) => {
        return machine.status?.nodeName === status?.targetNode && isReady(machine);
      });
      walker = await guestOf(stage, "walker");
      expect(walker.node.name).not.toBe(before.node.name);
      expect(before.processId()).toBeUndefined();
      expect(await walker.run("cat /dev/shm/note /root/file")).toBe("remembered\nkept\n");
      expect(await walker.run("cat /proc/sys/kernel/random/boot_id")).toBe(`${boot?.bootId}\n`);
      sent = await echoed();
      await waitFor("more of the echo", async () => (await echoed()) > sent, { timeoutMs: 60_000 });
      await waitFor("nothing is left at the source", async () => {
        const left = await filesOn(before);
        if (left !== "") throw new Error(left);
        return true;
      });
    },
    PATIENCE_MS,
  );

  test(
    "stays when its migration is deleted",
    async () => {
      const { node } = walker;
      await migrate("slow", "walker", { bandwidthMiBps: 1 });
      await stage.until(virtualMachineMigrations, "slow", ({ status }) => status?.phase === "Copying");
      const key = { namespace: NAMESPACE, name: "slow" };
      await stage.api.delete(virtualMachineMigrations, key, { signal: new AbortController().signal });
      await waitFor(
        "the end of the migration",
        async () => (await stage.read(virtualMachineMigrations, "slow")) === undefined,
        { timeoutMs: 120_000 },
      );
      await stage.until(virtualMachines, "walker", isReady);
      expect((await guestOf(stage, "walker")).node.name).toBe(node.name);
      expect(await walker.run("echo alive")).toBe("alive\n");
    },
    PATIENCE_MS,
  );
});

test(
  "a machine that is off moves with its data",
  async () => {
    const { node } = walker;
    await walker.run("echo again > /root/file; sync");
    await stage.patchMachine("walker", { runStrategy: "Halted" });
    await stage.untilStatus("walker", "Stopped");
    await migrate("carry", "walker");
    expect((await untilSucceeded("carry"))?.live).toBe(false);
    await stage.patchMachine("walker", { runStrategy: "Always" });
    await stage.untilStatus("walker", "Running");
    walker = await guestOf(stage, "walker");
    expect(walker.node.name).not.toBe(node.name);
    await walker.untilBooted();
    expect(await walker.run("cat /root/file")).toBe("again\n");
  },
  PATIENCE_MS,
);
