import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { LiveMerge } from "../../../src/node-agent/volumes/types.ts";
import { type RunningDisk, startDisk } from "./storage-daemon.ts";
import {
  advance,
  headOf,
  listing,
  makeStorage,
  newRoot,
  onImage,
  openVolumes,
  options,
  ready,
  expectPatterns,
  expectSound,
  type Storage,
  takeSnapshot,
} from "./volumes-fixture.ts";

let storage: Storage;
let volumes: Volumes;
let disk: RunningDisk;
const root = newRoot();
const disks = [root] as const;

beforeEach(async () => {
  storage = makeStorage();
  volumes = openVolumes(storage);
  disk = await startDisk(await ready(volumes, onImage(storage, root)), storage.directory);
});
afterEach(async () => {
  await disk.kill();
  await volumes.close();
  rmSync(storage.directory, { recursive: true });
});

const snapshotLive = async (): Promise<string> => {
  const snapshotUid = randomUUID();
  const prepared = await volumes.snapshots.prepare({ snapshotUid, disks, withMemory: false }, options);
  await disk.changeOver(prepared.disks[0]?.overlayPath ?? "");
  await volumes.snapshots.commit(snapshotUid, disks, options);
  return snapshotUid;
};
/** Three snapshots, each of a disk that has been written to. */
const threeSnapshots = async (): Promise<readonly [string, string, string]> => {
  disk.io("write -P 0x21 4M 1M");
  const first = await snapshotLive();
  disk.io("write -P 0x22 5M 1M");
  const second = await snapshotLive();
  disk.io("write -P 0x23 6M 1M");
  const third = await snapshotLive();
  disk.io("write -P 0x24 7M 1M");
  return [first, second, third];
};
const all = ["0x11 0 1M", "0x21 4M 1M", "0x22 5M 1M", "0x23 6M 1M", "0x24 7M 1M"] as const;
const expectGuestSees = (...patterns: readonly string[]): void =>
  disk.io(...patterns.map((pattern) => `read -P ${pattern}`));

const nextLive = async (): Promise<LiveMerge> => {
  const outcome = await advance(volumes, root, true);
  if (outcome.kind !== "live") throw new Error(JSON.stringify(outcome));
  return outcome.merge;
};
const mergeAndFlush = async (merge: LiveMerge): Promise<void> => {
  await disk.merge(merge);
  disk.io("flush");
  await volumes.merges.confirm(root, options);
};
const files = async (): Promise<string[]> =>
  listing(join(await headOf(volumes, root), "..")).filter((name) => name.endsWith(".qcow2"));
const restart = async (): Promise<void> => {
  await volumes.close();
  volumes = openVolumes(storage);
};

describe("a guest that runs, by QEMU's own block jobs", () => {
  test("has what lies under its head pulled into it, down to the image", async () => {
    for (const uid of await threeSnapshots()) await volumes.snapshots.discard(uid, disks, options);
    const merge = await nextLive();
    expect(merge).toEqual({
      kind: "pull",
      diskPath: await headOf(volumes, root),
      basePath: storage.image.path,
    });
    await mergeAndFlush(merge);
    expect(await advance(volumes, root, true)).toEqual({ kind: "clean" });
    expect(await files()).toHaveLength(1);
    expectGuestSees(...all);
    await disk.kill();
    expectSound(await headOf(volumes, root));
    expectPatterns(await headOf(volumes, root), ...all);
  });

  test("has a middle layer committed down, never into the image", async () => {
    const [first, second, third] = await threeSnapshots();
    await volumes.snapshots.discard(first, disks, options);
    const merge = await nextLive();
    expect(merge).toMatchObject({ kind: "commit", basePath: expect.stringMatching(/base\.qcow2$/) });
    await mergeAndFlush(merge);
    expect(await advance(volumes, root, true)).toEqual({ kind: "clean" });
    expect(await files()).toHaveLength(3);
    expectGuestSees(...all);
    await disk.kill();
    expectPatterns(storage.image.path, "0x11 0 1M", "0 4M 4M");
    expect(await volumes.snapshots.find(second, disks, options)).toBe("committed");
    for (const [uid, patterns] of [
      [second, ["0x21 4M 1M", "0x22 5M 1M", "0 6M 2M"]],
      [third, ["0x21 4M 1M", "0x22 5M 1M", "0x23 6M 1M", "0 7M 1M"]],
    ] as const) {
      const restoreUid = randomUUID();
      await volumes.restores.prepare({ restoreUid, snapshotUid: uid, disks }, options);
      await volumes.restores.switch(restoreUid, disks, options);
      expectPatterns(await headOf(volumes, root), ...patterns);
      await volumes.restores.undo(restoreUid, disks, options);
    }
    expectPatterns(await headOf(volumes, root), ...all);
  });

  test("keeps a branch that stands on the layer that was committed", async () => {
    disk.io("write -P 0x21 4M 1M");
    const first = await snapshotLive();
    disk.io("write -P 0x22 5M 1M");
    const second = await snapshotLive();
    await disk.kill();
    // Back to the second and on; then back once more: two layers stand on the one that it froze.
    const goBackAndWrite = async (pattern: string): Promise<void> => {
      const restoreUid = randomUUID();
      await volumes.restores.prepare({ restoreUid, snapshotUid: second, disks }, options);
      await volumes.restores.switch(restoreUid, disks, options);
      await volumes.restores.finish(restoreUid, disks, options);
      disk = await startDisk(await ready(volumes, onImage(storage, root)), storage.directory);
      disk.io(`write -P ${pattern}`);
    };
    await goBackAndWrite("0x31 6M 1M");
    const branch = await snapshotLive();
    await disk.kill();
    await goBackAndWrite("0x32 6M 1M");
    await volumes.snapshots.discard(first, disks, options);
    for (;;) {
      const outcome = await advance(volumes, root, true);
      if (outcome.kind === "clean") break;
      if (outcome.kind !== "live") throw new Error(JSON.stringify(outcome));
      await mergeAndFlush(outcome.merge);
    }
    expectGuestSees("0x21 4M 1M", "0x22 5M 1M", "0x32 6M 1M");
    await disk.kill();
    const restoreUid = randomUUID();
    await volumes.restores.prepare({ restoreUid, snapshotUid: branch, disks }, options);
    await volumes.restores.switch(restoreUid, disks, options);
    expectPatterns(await headOf(volumes, root), "0x21 4M 1M", "0x22 5M 1M", "0x31 6M 1M");
  });

  test.each(["pull", "commit"] as const)(
    "whose %s ended while no agent was there is known to have ended",
    async (kind) => {
      const [first, ...others] = await threeSnapshots();
      const uids = kind === "commit" ? [first] : [first, ...others];
      for (const uid of uids) await volumes.snapshots.discard(uid, disks, options);
      const merge = await nextLive();
      expect(merge.kind).toBe(kind);
      await restart();
      await disk.merge(merge);
      expect(await nextLive()).toEqual(merge);
      disk.io("flush");
      await volumes.merges.confirm(root, options);
      expect(await advance(volumes, root, true)).toEqual({ kind: "clean" });
      expectGuestSees(...all);
    },
  );

  test.each(["pull", "commit"] as const)(
    "that dies when a %s has just ended loses nothing of what QEMU still held",
    async (kind) => {
      const [first, ...others] = await threeSnapshots();
      const uids = kind === "commit" ? [first] : [first, ...others];
      for (const uid of uids) await volumes.snapshots.discard(uid, disks, options);
      await disk.merge(await nextLive());
      await nextLive();
      await disk.kill();
      await restart();
      expectPatterns((await ready(volumes, onImage(storage, root))).path, ...all);
      expect(await advance(volumes, root)).toEqual({ kind: "clean" });
      expectSound(await headOf(volumes, root));
      expectPatterns(await headOf(volumes, root), ...all);
      expect(await files()).toHaveLength(kind === "commit" ? 3 : 1);
    },
  );

  test("is not believed to have merged what no header says", async () => {
    for (const uid of await threeSnapshots()) await volumes.snapshots.discard(uid, disks, options);
    await nextLive();
    await expect(volumes.merges.confirm(root, options)).rejects.toThrow("no header of");
  });

  test.each(["pull", "commit"] as const)(
    "that dies in the middle of a %s loses nothing, and is merged while it is off",
    async (kind) => {
      const [first, ...others] = await threeSnapshots();
      const uids = kind === "commit" ? [first] : [first, ...others];
      for (const uid of uids) await volumes.snapshots.discard(uid, disks, options);
      const merge = await nextLive();
      await disk.startSlowly(merge);
      expect(await nextLive()).toEqual(merge);
      await disk.kill();
      await restart();
      expect(await advance(volumes, root)).toEqual({ kind: "clean" });
      expectSound(await headOf(volumes, root));
      expectPatterns(await headOf(volumes, root), ...all);
      expect(await files()).toHaveLength(kind === "commit" ? 3 : 1);
    },
  );

  test("that is merged has no snapshot taken before the job is over or given up", async () => {
    const [first] = await threeSnapshots();
    await volumes.snapshots.discard(first, disks, options);
    await nextLive();
    await expect(takeSnapshot(volumes, disks)).rejects.toThrow("being merged");
    await volumes.merges.abandon(root, { isRunning: true }, options);
    await snapshotLive();
    expectGuestSees(...all);
  });
});
