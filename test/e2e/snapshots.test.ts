import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { virtualMachineRestores } from "../../src/api/virtual-machine-restore.ts";
import {
  type VirtualMachineSnapshot,
  virtualMachineSnapshots,
} from "../../src/api/virtual-machine-snapshot.ts";
import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { type GuestDisk, guestDisk } from "./support/guest-disk.ts";
import { manifests } from "./support/manifests.ts";
import { isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";

/** A guest's disks and memory at one moment, and the way back to it: checked from inside the guest. */

const BOOT_MS = 240_000;
const NO_BOOT_MS = 120_000;
const { signal } = new AbortController();

let stage: Stage;
let guest: Guest;
let disk: GuestDisk;
let volumeUid: string;
let boots = 1;

const take = async (name: string, spec: object = {}): Promise<VirtualMachineSnapshot> => {
  await stage.apply(manifests.snapshot(name, "main", spec));
  return stage.until(virtualMachineSnapshots, name, isReady);
};

const remove = async (...names: readonly string[]): Promise<void> => {
  for (const name of names) {
    await stage.api.delete(virtualMachineSnapshots, { namespace: NAMESPACE, name }, { signal });
  }
  for (const name of names) {
    await waitFor(
      `the end of snapshot ${name}`,
      async () => (await stage.read(virtualMachineSnapshots, name)) === undefined,
      { timeoutMs: 90_000 },
    );
  }
};

const restore = async (name: string, snapshot: string, powerState = "Running"): Promise<void> => {
  await stage.apply(manifests.restore(name, { virtualMachine: "main", snapshot, powerState }));
  await stage.until(virtualMachineRestores, name, isReady);
};

const settled = (printableStatus: string) =>
  stage.until(virtualMachines, "main", ({ status }) => status?.printableStatus === printableStatus);

/** Layers of the root disk and of the volume that are on the node. */
const layers = async (): Promise<readonly number[]> => {
  const { stateDirectory } = guest.node;
  const directories = [
    join(stateDirectory, "disks", guest.vmUid),
    join(stateDirectory, "volumes", volumeUid),
  ];
  return Promise.all(
    directories.map(async (path) => (await readdir(path)).filter((name) => name.endsWith(".qcow2")).length),
  );
};

beforeAll(async () => {
  stage = await startStage({ nodes: 1 });
  await stage.applyBasics();
  await stage.apply(
    manifests.volume("data"),
    manifests.machine("main", { terminationGracePeriodSeconds: 0, volumes: [{ name: "data" }] }),
  );
  await stage.untilStatus("main", "Running");
  guest = await guestOf(stage, "main");
  await guest.untilBooted();
  const data = await stage.until(volumes, "data", isReady);
  volumeUid = data.metadata.uid;
  disk = guestDisk(guest, volumeUid);
}, 300_000);

afterAll(() => stage.stop(), 60_000);

describe("a snapshot of a running guest", () => {
  let before: string;
  let after: string;

  test(
    "has all its disks at one moment, and the guest goes on",
    async () => {
      before = await disk.write(8);
      await guest.run("echo before >/root/word; sync");
      const { status } = await take("online");
      expect(status).toMatchObject({
        phase: "Ready",
        consistency: "Online",
        memory: false,
        disks: [
          { name: "root", sizeMiB: 1024 },
          { name: "data", volumeUid, sizeMiB: 64 },
        ],
      });
      expect(await layers()).toEqual([2, 2]);
      after = await disk.write(8);
      await guest.run("echo after >/root/word; sync");
      expect(await disk.read(8)).toBe(after);
      expect(await guest.boots()).toHaveLength(boots);
    },
    NO_BOOT_MS,
  );

  test(
    "with its memory is gone back to without a boot",
    async () => {
      await guest.run("echo remembered >/tmp/only-in-memory");
      const { status } = await take("memory", { includeMemory: true });
      expect(status).toMatchObject({ memory: true, memoryBytes: expect.any(Number) });
      await guest.run("rm /tmp/only-in-memory");
      await disk.write(8);
      await stage.apply(manifests.volume("data", { size: "96Mi" }));
      await waitFor("the larger volume", async () => (await disk.sizeMiB()) === 96);
      await restore("to-memory", "memory");
      await settled("Running");
      expect(await guest.run("cat /tmp/only-in-memory /root/word")).toBe("remembered\nafter\n");
      expect(await disk.read(8)).toBe(after);
      // The volume is still to be so large, whatever the guest remembers.
      await waitFor("the larger volume", async () => (await disk.sizeMiB()) === 96);
      expect(await guest.boots()).toHaveLength(boots);
    },
    BOOT_MS,
  );

  test(
    "is gone back to by a boot, with the machine's own address",
    async () => {
      await restore("to-online", "online");
      await settled("Running");
      boots += 1;
      await guest.untilBooted(boots);
      expect(await disk.read(8)).toBe(before);
      expect(await guest.run("cat /root/word")).toBe("before\n");
    },
    BOOT_MS,
  );

  test(
    "in the middle is deleted without any change that the guest sees",
    async () => {
      await remove("memory");
      expect(await disk.read(8)).toBe(before);
      await remove("online");
      expect(await layers()).toEqual([1, 1]);
      expect(await disk.read(8)).toBe(before);
      expect(await guest.run("cat /root/word")).toBe("before\n");
    },
    NO_BOOT_MS,
  );

  test(
    "and twelve more, taken and deleted in any order, leave one file of each disk",
    async () => {
      const names = Array.from({ length: 6 }, (_, index) => `many-${index}`);
      for (let round = 0; round < 2; round += 1) {
        for (const name of names) await take(name);
        const expected = await disk.write(1, round);
        const [first = "", ...others] = names;
        await remove(...others.toSorted((a, b) => ((a.at(-1) ?? "") < (b.at(-1) ?? "") ? 1 : -1)), first);
        expect(await disk.read(1, round)).toBe(expected);
      }
      expect(await layers()).toEqual([1, 1]);
    },
    BOOT_MS,
  );
});

describe("a snapshot of a guest that is off", () => {
  test(
    "is gone back to with the machine halted, and booted afterwards",
    async () => {
      const before = await disk.write(4);
      await stage.patchMachine("main", { runStrategy: "Halted" });
      await stage.untilStatus("main", "Stopped");
      const { status } = await take("offline", { includeMemory: true });
      expect(status).toMatchObject({ consistency: "Offline", memory: false });

      await stage.patchMachine("main", { runStrategy: "Always" });
      await stage.untilStatus("main", "Running");
      boots += 1;
      await guest.untilBooted(boots);
      await disk.write(4);
      await stage.patchMachine("main", { runStrategy: "Halted" });
      await stage.untilStatus("main", "Stopped");
      await restore("to-offline", "offline", "Halted");
      await settled("Stopped");

      await stage.patchMachine("main", { runStrategy: "Always" });
      await stage.untilStatus("main", "Running");
      boots += 1;
      await guest.untilBooted(boots);
      expect(await disk.read(4)).toBe(before);
    },
    BOOT_MS,
  );

  test(
    "keeps the disk when the machine goes, and takes it along when it goes itself",
    async () => {
      const disks = join(guest.node.stateDirectory, "disks");
      await stage.deleteMachines("main");
      expect(await readdir(disks)).toEqual([guest.vmUid]);
      await remove("offline");
      expect(await readdir(disks)).toEqual([]);
    },
    NO_BOOT_MS,
  );
});
