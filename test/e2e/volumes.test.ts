import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { type Volume, volumes } from "../../src/api/volume.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { type GuestDisk, guestDisk } from "./support/guest-disk.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";

/** Disks that outlive machines, on a guest that runs all the time: what is written is what is read. */

const BOOT_MS = 240_000;
const NO_BOOT_MS = 120_000;
/** Guests that a test is done with need not be asked to end. */
const atOnce = { terminationGracePeriodSeconds: 0 };

let stage: Stage;
let pool: string;
let guest: Guest;
let disk: GuestDisk;
/** What the first 8 MiB of the volume are to be. */
let written: string;

const { signal } = new AbortController();
const volume = (name: string): Promise<Volume> =>
  stage.until(volumes, name, (object) => isReady(object) && object.status?.phase !== "Provisioning");
const growTo = (name: string, size: string): Promise<Volume> =>
  stage.api.mergePatch(volumes, { namespace: NAMESPACE, name }, { spec: { size } }, { signal });

/** Gives the machine these volumes and waits until it is Ready with them and no others. */
const haveVolumes = async (...wanted: readonly object[]): Promise<void> => {
  await stage.patchMachine("main", { volumes: wanted });
  await stage.until(
    virtualMachines,
    "main",
    (machine) =>
      machine.status?.observedGeneration === machine.metadata.generation &&
      isReady(machine) &&
      (machine.status?.guest?.volumes ?? []).length === wanted.length,
  );
};

beforeAll(async () => {
  pool = await mkdtemp("/var/tmp/vireo-pool-");
  await chmod(pool, 0o711);
  stage = await startStage({ nodes: 1, agentFlags: () => [`--storage-pool=fast=${pool},wipe=zero`] });
  await stage.applyBasics();
  await stage.apply(manifests.machine("main", atOnce), manifests.volume("data"));
  await stage.untilStatus("main", "Running");
  guest = await guestOf(stage, "main");
  await guest.untilBooted();
}, 300_000);

afterAll(async () => {
  await stage.stop();
  await rm(pool, { recursive: true, force: true });
}, 60_000);

describe("a volume of a running guest", () => {
  test("the node reports its pools", async () => {
    const { status } = await stage.until(
      hypervisors,
      "node-1",
      (object) => object.status?.storagePools?.length === 2,
    );
    expect(status?.storagePools).toEqual([
      expect.objectContaining({ name: "local", shared: false, wipe: "None" }),
      expect.objectContaining({ name: "fast", shared: false, wipe: "Zero" }),
    ]);
  });

  test(
    "is a disk of the guest once the machine names it",
    async () => {
      await haveVolumes({ name: "data" });
      const { metadata, status } = await volume("data");
      expect(status).toMatchObject({ phase: "InUse", sizeMiB: 64, format: "qcow2" });
      disk = guestDisk(guest, metadata.uid);
      expect(await disk.sizeMiB()).toBe(64);
      written = await disk.write(8);
      expect(await disk.read(8)).toBe(written);
    },
    NO_BOOT_MS,
  );

  test(
    "grows while the guest uses it, and keeps what was written",
    async () => {
      await growTo("data", "96Mi");
      await stage.until(volumes, "data", (object) => isReady(object) && object.status?.sizeMiB === 96);
      await waitFor("the guest to see 96 MiB", async () => (await disk.sizeMiB()) === 96);
      const atTheEnd = await disk.write(4, 92);
      expect(await disk.read(4, 92)).toBe(atTheEnd);
      expect(await disk.read(8)).toBe(written);
    },
    NO_BOOT_MS,
  );

  test(
    "does not shrink",
    async () => {
      await expect(growTo("data", "64Mi")).rejects.toThrow("a volume cannot shrink");
    },
    NO_BOOT_MS,
  );

  test(
    "goes when the machine no longer names it, and comes back as it was on another bus",
    async () => {
      await haveVolumes();
      await disk.untilGone();
      expect((await volume("data")).status?.phase).toBe("Available");
      await haveVolumes({ name: "data", bus: "SCSI" });
      expect(await disk.untilThere()).toMatch(/^sd/);
      expect(await disk.read(8)).toBe(written);
    },
    NO_BOOT_MS,
  );

  test(
    "is copied into another pool while the guest writes on",
    async () => {
      await stage.apply(
        manifests.volume("copy", { size: "128Mi", pool: "fast", source: { volume: "data" } }),
      );
      const { metadata } = await volume("copy");
      await haveVolumes({ name: "data", bus: "SCSI" }, { name: "copy" });
      const copy = guestDisk(guest, metadata.uid);
      expect(await copy.sizeMiB()).toBe(128);
      expect(await copy.read(8)).toBe(written);
      await copy.write(8);
      expect(await disk.read(8)).toBe(written);
      expect(await readdir(join(pool, "volumes"))).toEqual([metadata.uid]);
    },
    NO_BOOT_MS,
  );

  test(
    "is there at the next start too",
    async () => {
      await stage.patchMachine("main", { runStrategy: "Halted" });
      await stage.untilStatus("main", "Stopped");
      await stage.patchMachine("main", { runStrategy: "Always" });
      await stage.untilStatus("main", "Running");
      await guest.untilBooted(2);
      expect(await disk.read(8)).toBe(written);
    },
    BOOT_MS,
  );

  test(
    "is protected from deletion while the machine has it, and leaves nothing when it goes",
    async () => {
      await stage.api.delete(volumes, { namespace: NAMESPACE, name: "copy" }, { signal });
      await stage.until(volumes, "copy", (object) => conditionOf(object, "InUse")?.status === "True");
      await haveVolumes({ name: "data", bus: "SCSI" });
      await waitFor("the end of Volume copy", async () => (await stage.read(volumes, "copy")) === undefined);
      expect(await readdir(join(pool, "volumes"))).toEqual([]);
    },
    NO_BOOT_MS,
  );

  test(
    "whose data are retained is another Volume's by its UID",
    async () => {
      await haveVolumes();
      const { metadata } = await volume("data");
      await stage.api.mergePatch(
        volumes,
        { namespace: NAMESPACE, name: "data" },
        { spec: { deletionPolicy: "Retain" } },
        { signal },
      );
      await stage.api.delete(volumes, { namespace: NAMESPACE, name: "data" }, { signal });
      await waitFor("the end of Volume data", async () => (await stage.read(volumes, "data")) === undefined);
      await stage.apply(manifests.volume("heir", { size: "96Mi", source: { retained: metadata.uid } }));
      const heir = await volume("heir");
      await haveVolumes({ name: "heir" });
      expect(await guestDisk(guest, heir.metadata.uid).read(8)).toBe(written);
    },
    NO_BOOT_MS,
  );
});
