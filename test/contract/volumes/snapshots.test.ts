import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { randomUUID } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Volumes } from "../../../src/node-agent/volumes/index.ts";
import {
  advance,
  blank,
  headOf,
  informationOf,
  listing,
  makeStorage,
  newRoot,
  newVolume,
  onImage,
  openVolumes,
  options,
  qemuIo,
  ready,
  expectPatterns,
  expectSound,
  type Storage,
  takeSnapshot,
} from "./volumes-fixture.ts";

let storage: Storage;
let volumes: Volumes;
const root = newRoot();
const data = newVolume("fast");
const disks = [data, root] as const;

beforeEach(async () => {
  storage = makeStorage();
  volumes = openVolumes(storage);
  await ready(volumes, onImage(storage, root));
  await ready(volumes, blank(data));
});
afterEach(async () => {
  await volumes.close();
  rmSync(storage.directory, { recursive: true });
});

const write = async (pattern: string): Promise<void> => {
  for (const ref of disks) qemuIo(await headOf(volumes, ref), `write -P ${pattern}`);
};
const expectBoth = async (...patterns: readonly string[]): Promise<void> => {
  for (const ref of disks) expectPatterns(await headOf(volumes, ref), ...patterns);
};
const restored = async (snapshotUid: string): Promise<string> => {
  const restoreUid = randomUUID();
  await volumes.restores.prepare({ restoreUid, snapshotUid, disks }, options);
  await volumes.restores.switch(restoreUid, disks, options);
  return restoreUid;
};
const filesOf = async (ref: (typeof disks)[number]): Promise<string[]> =>
  listing(join(await headOf(volumes, ref), "..")).filter((name) => name.endsWith(".qcow2"));
const clean = async (): Promise<void> => {
  for (const ref of disks) expect(await advance(volumes, ref)).toEqual({ kind: "clean" });
};

describe("a snapshot of a machine that is off", () => {
  test("names its layers explicitly, and what was frozen does not change", async () => {
    await write("0x21 4M 1M");
    const uid = await takeSnapshot(volumes, disks);
    await write("0x22 4M 1M");
    const chain = await volumes.disks.find(root, options);
    const base = join(storage.local, "disks", root.uid, "base.qcow2");
    expect(chain?.backing).toEqual([
      { path: base, format: "qcow2", isImage: false },
      { path: storage.image.path, format: "qcow2", isImage: true },
    ]);
    expect(informationOf(chain?.path ?? "")).toMatchObject({
      "backing-filename": base,
      "backing-filename-format": "qcow2",
    });
    expectPatterns(base, "0x21 4M 1M");
    await expectBoth("0x22 4M 1M");
    expect(await volumes.snapshots.find(uid, disks, options)).toBe("committed");
    expect((await volumes.disks.list(options)).map(({ snapshots }) => snapshots)).toEqual([
      [{ uid, virtualSizeBytes: 32 * 2 ** 20, usedBytes: expect.any(Number), memoryBytes: 0 }],
      [{ uid, virtualSizeBytes: 32 * 2 ** 20, usedBytes: expect.any(Number), memoryBytes: 0 }],
    ]);
  });

  test("can be undone before it is committed, and leaves nothing", async () => {
    const snapshotUid = randomUUID();
    await volumes.snapshots.prepare({ snapshotUid, disks, withMemory: true }, options);
    expect(await volumes.snapshots.find(snapshotUid, disks, options)).toBe("prepared");
    await volumes.snapshots.undo(snapshotUid, disks, options);
    await volumes.snapshots.undo(snapshotUid, disks, options);
    expect(await volumes.snapshots.find(snapshotUid, disks, options)).toBe("none");
    await clean();
    for (const ref of disks) expect(await filesOf(ref)).toEqual(["base.qcow2"]);
  });

  test("is not undone when a guest has written to the new layer", async () => {
    const snapshotUid = randomUUID();
    const prepared = await volumes.snapshots.prepare({ snapshotUid, disks, withMemory: false }, options);
    qemuIo(prepared.disks[0]?.overlayPath ?? "", "write -P 0x21 0 64k");
    await expect(volumes.snapshots.undo(snapshotUid, disks, options)).rejects.toThrow("must be committed");
    await volumes.snapshots.commit(snapshotUid, disks, options);
    expectPatterns(await headOf(volumes, root), "0x21 0 64k");
  });

  test("has the guest's memory beside the root disk, and takes it along", async () => {
    const snapshotUid = randomUUID();
    const { memoryPath } = await volumes.snapshots.prepare({ snapshotUid, disks, withMemory: true }, options);
    expect(memoryPath).toBe(join(storage.local, "disks", root.uid, "memory", snapshotUid));
    writeFileSync(memoryPath ?? "", "LibvirtQemudSave".padEnd(6000, "memory"));
    await volumes.snapshots.commit(snapshotUid, disks, options);
    expect(await volumes.snapshots.memoryPath(snapshotUid, disks, options)).toBe(memoryPath);
    expect((await volumes.disks.list(options))[0]?.snapshots[0]?.memoryBytes).toBeGreaterThan(5999);
    await volumes.snapshots.discard(snapshotUid, disks, options);
    await clean();
    expect(existsSync(memoryPath ?? "")).toBe(false);
    expect(await volumes.snapshots.memoryPath(snapshotUid, disks, options)).toBeUndefined();
  });

  test.each([
    ["of which libvirt has written some", "LibvirtQemudPart".padEnd(6000, "memory")],
    ["of which there is nothing yet", undefined],
  ])("is without the memory %s when the guest ends", async (_, content) => {
    const snapshotUid = randomUUID();
    const { memoryPath = "" } = await volumes.snapshots.prepare(
      { snapshotUid, disks, withMemory: true },
      options,
    );
    if (content !== undefined) writeFileSync(memoryPath, content);
    await volumes.snapshots.commit(snapshotUid, disks, options);
    expect(await volumes.snapshots.memoryPath(snapshotUid, disks, options)).toBeUndefined();
    await clean();
    expect(existsSync(memoryPath)).toBe(false);
  });

  test("is refused while another one, or a restore, is under way", async () => {
    await volumes.snapshots.prepare({ snapshotUid: randomUUID(), disks, withMemory: false }, options);
    const another = { snapshotUid: randomUUID(), disks, withMemory: false };
    await expect(volumes.snapshots.prepare(another, options)).rejects.toThrow("under way");
  });

  test("can be taken a hundred times; when all are deleted one file is left", async () => {
    const uids: string[] = [];
    for (let number = 1; number <= 100; number += 1) {
      qemuIo(await headOf(volumes, root), `write -P ${number} ${number * 128}k 256k`);
      uids.push(await takeSnapshot(volumes, [root]));
    }
    expect(await filesOf(root)).toHaveLength(101);
    // From the middle outwards, as people do it, and then the rest at once.
    for (const uid of uids.splice(40, 10)) {
      await volumes.snapshots.discard(uid, [root], options);
      expect(await advance(volumes, root)).toEqual({ kind: "clean" });
    }
    expect(await filesOf(root)).toHaveLength(91);
    for (const uid of uids) await volumes.snapshots.discard(uid, [root], options);
    expect(await advance(volumes, root)).toEqual({ kind: "clean" });
    expect(await filesOf(root)).toHaveLength(1);
    const path = await headOf(volumes, root);
    expectSound(path);
    const patterns = Array.from({ length: 100 }, (_, index) => `${index + 1} ${(index + 1) * 128}k 128k`);
    expectPatterns(path, "0x11 0 128k", ...patterns, "100 12928k 128k", "0 14M 18M");
    expect((await volumes.disks.find(root, options))?.backing).toEqual([
      { path: storage.image.path, format: "qcow2", isImage: true },
    ]);
  }, 180_000);
});

describe("deleting a snapshot", () => {
  test("of a disk that has grown since keeps all content", async () => {
    await write("0x21 31M 1M");
    const first = await takeSnapshot(volumes, disks);
    for (const ref of disks) await volumes.disks.grow(ref, 64, options);
    await write("0x22 63M 1M");
    const second = await takeSnapshot(volumes, disks);
    for (const ref of disks) await volumes.disks.grow(ref, 96, options);
    await write("0x23 95M 1M");
    for (const uid of [first, second]) {
      await volumes.snapshots.discard(uid, disks, options);
      await clean();
    }
    await expectBoth("0x21 31M 1M", "0 32M 31M", "0x22 63M 1M", "0 64M 31M", "0x23 95M 1M");
    for (const ref of disks) expect(await filesOf(ref)).toHaveLength(1);
  });

  test("in the middle keeps those around it", async () => {
    const uids: string[] = [];
    for (const pattern of ["0x21 4M 1M", "0x22 4M 1M", "0x23 5M 1M"]) {
      await write(pattern);
      uids.push(await takeSnapshot(volumes, disks));
    }
    const [first = "", second = "", third = ""] = uids;
    await volumes.snapshots.discard(second, disks, options);
    await clean();
    for (const ref of disks) expect(await filesOf(ref)).toHaveLength(3);
    await expectBoth("0x22 4M 1M", "0x23 5M 1M");
    await volumes.restores.finish(await restored(first), disks, options);
    await expectBoth("0x21 4M 1M", "0 5M 1M");
    await volumes.restores.finish(await restored(third), disks, options);
    await expectBoth("0x22 4M 1M", "0x23 5M 1M");
  });
});

describe("a restore", () => {
  test("puts all disks back, and what was written since goes", async () => {
    await write("0x21 4M 1M");
    const snapshotUid = await takeSnapshot(volumes, disks);
    await write("0x22 4M 2M");
    const uid = await restored(snapshotUid);
    await expectBoth("0x21 4M 1M", "0 5M 1M");
    await volumes.restores.finish(uid, disks, options);
    await clean();
    for (const ref of disks) expect(await filesOf(ref)).toHaveLength(2);
    await expectBoth("0x21 4M 1M", "0 5M 1M");
  });

  test("keeps the size that the disk has grown to", async () => {
    await write("0x21 31M 1M");
    const snapshotUid = await takeSnapshot(volumes, disks);
    for (const ref of disks) await volumes.disks.grow(ref, 64, options);
    await write("0x22 40M 1M");
    await volumes.restores.finish(await restored(snapshotUid), disks, options);
    await expectBoth("0x21 31M 1M", "0 32M 32M");
  });

  test.each(["prepared", "switched"] as const)(
    "that is undone when it is %s leaves all as it was",
    async (state) => {
      const snapshotUid = await takeSnapshot(volumes, disks);
      await write("0x22 4M 2M");
      const restoreUid = randomUUID();
      await volumes.restores.prepare({ restoreUid, snapshotUid, disks }, options);
      if (state === "switched") {
        await volumes.restores.switch(restoreUid, disks, options);
        await write("0x23 4M 2M");
      }
      expect(await volumes.restores.find(restoreUid, disks, options)).toBe(state);
      await volumes.restores.undo(restoreUid, disks, options);
      expect(await volumes.restores.find(restoreUid, disks, options)).toBeUndefined();
      await expectBoth("0x22 4M 2M");
      await clean();
      for (const ref of disks) expect(await filesOf(ref)).toHaveLength(2);
    },
  );

  test("of a snapshot that one of the disks is not in changes nothing", async () => {
    const snapshotUid = await takeSnapshot(volumes, [root]);
    const restoreUid = randomUUID();
    await expect(volumes.restores.prepare({ restoreUid, snapshotUid, disks }, options)).rejects.toThrow(
      "no snapshot",
    );
    await expect(volumes.restores.switch(restoreUid, disks, options)).rejects.toThrow(
      "has not been prepared",
    );
    await volumes.restores.undo(restoreUid, disks, options);
    await clean();
  });

  test("that has come to some disks only keeps the others from being started", async () => {
    const snapshotUid = await takeSnapshot(volumes, disks);
    const restoreUid = randomUUID();
    await volumes.restores.prepare({ restoreUid, snapshotUid, disks }, options);
    // As a kill after the first write of the switch leaves it.
    await volumes.restores.switch(restoreUid, [root], options);
    await expect(volumes.disks.ensure(blank(data), options)).rejects.toThrow("finish or undo it first");
    await volumes.restores.switch(restoreUid, disks, options);
    await ready(volumes, blank(data));
  });
});
