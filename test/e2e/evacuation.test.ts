import { chmod, mkdtemp, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { hypervisors, SYSTEM_NAMESPACE } from "../../src/api/hypervisor.ts";
import {
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../../src/api/virtual-machine-migration.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { leases } from "../../src/kube/index.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { manifests } from "./support/manifests.ts";
import { expectNothingOf, isOver } from "./support/migrations.ts";
import { conditionOf, isReady, NAMESPACE, type Stage, startStage } from "./support/stage.ts";

/** Nodes that are emptied, and one that is lost. nomad's disk is in a pool that both nodes have, settler's on its node. */

const PATIENCE_MS = 300_000;
const MACHINES = ["nomad", "settler", "sleeper"] as const;
/** Of the whole cluster, at a time. */
const MAX_PARALLEL = 2;
const { signal } = new AbortController();

let stage: Stage;
let pool: string;
let nomad: Guest;

const configure = (nodeName: string, spec: object) =>
  stage.api.mergePatch(hypervisors, { name: nodeName }, { spec }, { signal });

const isOn =
  (nodeName: string) =>
  (machine: VirtualMachine): boolean =>
    machine.status?.nodeName === nodeName && isReady(machine);

const migrationsNow = async (): Promise<readonly VirtualMachineMigration[]> =>
  (await stage.api.list(virtualMachineMigrations, { namespace: NAMESPACE, signal })).items;

const isUnderWay = (migration: VirtualMachineMigration): boolean =>
  migration.status?.sourceNode !== undefined && !isOver(migration);

/** Has a node emptied, and resolves with the most machines that were on their way at a time. */
const drain = async (from: string): Promise<number> => {
  let most = 0;
  await configure(from, { drain: true });
  await waitFor(
    `${from} to be empty`,
    async () => {
      most = Math.max(most, (await migrationsNow()).filter(isUnderWay).length);
      const drained = conditionOf((await stage.read(hypervisors, from)) ?? fail(from), "Drained");
      if (drained?.status === "True") return true;
      throw new Error(drained?.message);
    },
    { timeoutMs: PATIENCE_MS, intervalMs: 20 },
  );
  return most;
};

const fail = (what: string): never => {
  throw new Error(`there is no ${what}`);
};

const bootIdOf = (guest: Guest): Promise<string> => guest.run("cat /proc/sys/kernel/random/boot_id");
const diskOf = ({ vmUid }: Guest): string => join(pool, "disks", vmUid, "base.qcow2");

beforeAll(async () => {
  pool = await mkdtemp("/var/tmp/vireo-shared-");
  await chmod(pool, 0o711);
  stage = await startStage({
    nodes: 2,
    agentFlags: () => [`--storage-pool=shared=${pool},shared`],
    controllerFlags: ["--leader-elect=false", `--max-parallel-migrations=${MAX_PARALLEL}`],
  });
  await stage.applyBasics();
  await stage.cordon("node-2", true);
  const atOnce = { terminationGracePeriodSeconds: 0 };
  await stage.apply(
    manifests.machine("nomad", { ...atOnce, rootDisk: { pool: "shared" } }),
    manifests.machine("settler", atOnce),
    manifests.machine("sleeper", { ...atOnce, runStrategy: "Halted" }),
  );
  for (const name of MACHINES) await stage.until(virtualMachines, name, isOn("node-1"));
  nomad = await guestOf(stage, "nomad");
  await nomad.untilBooted();
  await (await guestOf(stage, "settler")).untilBooted();
  await nomad.run("echo packed >/root/bag; sync");
}, PATIENCE_MS);

afterAll(async () => {
  await stage.stop();
  await rm(pool, { recursive: true, force: true });
}, 60_000);

describe("a node that is to take no machines", () => {
  test(
    "keeps those that it has while it is cordoned",
    async () => {
      await stage.cordon("node-2", false);
      await stage.cordon("node-1", true);
      await stage.apply(manifests.machine("newcomer", { runStrategy: "Halted" }));
      await stage.until(virtualMachines, "newcomer", isOn("node-2"));
      expect(await migrationsNow()).toEqual([]);
      for (const name of MACHINES) expect((await stage.machine(name)).status?.nodeName).toBe("node-1");
      await stage.deleteMachines("newcomer");
      await stage.cordon("node-1", false);
    },
    PATIENCE_MS,
  );

  test(
    "is emptied when it is drained, no more machines at a time than the cluster allows",
    async () => {
      const [boot, { ino }] = [await bootIdOf(nomad), await stat(diskOf(nomad))];
      for (const node of ["node-1", "node-2"]) await configure(node, { maxParallelMigrations: 3 });
      expect(await drain("node-1")).toBe(MAX_PARALLEL);
      for (const name of MACHINES) await stage.until(virtualMachines, name, isOn("node-2"));
      nomad = await guestOf(stage, "nomad");
      expect(await bootIdOf(nomad)).toBe(boot);
      expect(await nomad.run("echo 3 >/proc/sys/vm/drop_caches; cat /root/bag")).toBe("packed\n");
      // The same file: nothing was copied, and nothing removed.
      expect((await stat(diskOf(nomad))).ino).toBe(ino);
      for (const name of MACHINES)
        await expectNothingOf(stage, "node-1", (await stage.machine(name)).metadata.uid);
      await configure("node-1", { drain: false });
    },
    PATIENCE_MS,
  );

  test(
    "moves no more machines at a time than it allows itself",
    async () => {
      await configure("node-2", { maxParallelMigrations: 1 });
      expect(await drain("node-2")).toBe(1);
      for (const name of MACHINES) await stage.until(virtualMachines, name, isOn("node-1"));
      nomad = await guestOf(stage, "nomad");
      await configure("node-2", { drain: false });
    },
    PATIENCE_MS,
  );
});

describe("a node that is lost", () => {
  const isLost = (machine: VirtualMachine): boolean => conditionOf(machine, "Ready")?.reason === "NodeLost";

  test(
    "keeps its machines until somebody says that it is off; then those start elsewhere whose disks are there",
    async () => {
      await nomad.run("echo unpacked >/root/bag; sync");
      const before = await stage.machine("nomad");
      await stage.testbed.node("node-1").powerOff();
      // Nobody renews it, and the controller need not wait the usual 40 s to see that.
      const lease = { namespace: SYSTEM_NAMESPACE, name: "node-1" };
      await stage.api.mergePatch(leases, lease, { spec: { leaseDurationSeconds: 2 } }, { signal });
      for (const name of MACHINES) {
        const { status } = await stage.until(virtualMachines, name, isLost);
        expect(status?.nodeName).toBe("node-1");
      }
      await configure("node-1", { outOfService: true });
      const { status } = await stage.until(virtualMachines, "nomad", isOn("node-2"));
      expect(status?.allocation).toEqual(before.status?.allocation);
      nomad = await guestOf(stage, "nomad");
      await nomad.untilBooted();
      expect(await nomad.run("cat /root/bag")).toBe("unpacked\n");
      expect(await stage.testbed.kubectl(["events", "--for=vm/nomad", "-n", NAMESPACE])).toMatch(
        /Warning\s+Evacuated\s/,
      );
      const settler = await stage.until(virtualMachines, "settler", (machine) =>
        /storage pool local/.test(conditionOf(machine, "Ready")?.message ?? ""),
      );
      expect(conditionOf(settler, "Ready")).toMatchObject({ status: "Unknown", reason: "NodeLost" });
      expect(settler.status?.nodeName).toBe("node-1");
    },
    PATIENCE_MS,
  );

  test(
    "goes on with the others when it is back, and leaves alone what is elsewhere now",
    async () => {
      const [boot, { testbed }] = [await bootIdOf(nomad), stage];
      await configure("node-1", { outOfService: false });
      await testbed.node("node-1").powerOn();
      await testbed.agent("node-1").start();
      await stage.until(virtualMachines, "settler", isOn("node-1"));
      await expectNothingOf(stage, "node-1", nomad.vmUid);
      await stage.until(virtualMachines, "nomad", isOn("node-2"));
      expect(await bootIdOf(nomad)).toBe(boot);
      await stat(diskOf(nomad));
    },
    PATIENCE_MS,
  );
});
