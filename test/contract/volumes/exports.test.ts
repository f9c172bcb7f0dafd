import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createDisks } from "../../../src/node-agent/disks/index.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import type { Volumes } from "../../../src/node-agent/volumes/index.ts";
import {
  advance,
  headOf,
  informationOf,
  makeStorage,
  newRoot,
  newVolume,
  onImage,
  openVolumes,
  options,
  qemuIo,
  ready,
  expectPatterns,
  settled,
  type Storage,
  takeSnapshot,
} from "./volumes-fixture.ts";

let storage: Storage;
let volumes: Volumes;
const root = newRoot();

beforeEach(async () => {
  storage = makeStorage();
  volumes = openVolumes(storage);
  await ready(volumes, onImage(storage, root));
});
afterEach(async () => {
  await volumes.close();
  rmSync(storage.directory, { recursive: true });
});

const exported = async (imageUid: string, snapshotUid: string) => {
  const outcome = await settled(volumes, () =>
    volumes.exports.ensure({ imageUid, disk: root, snapshotUid }, options),
  );
  if (outcome.kind !== "ready") throw new Error(JSON.stringify(outcome));
  return outcome.file;
};

describe("an exported disk", () => {
  test("is one compressed file with all layers and the image in it, and its digest", async () => {
    qemuIo(await headOf(volumes, root), "write -P 0x21 4M 1M");
    await takeSnapshot(volumes, [root]);
    qemuIo(await headOf(volumes, root), "write -P 0x22 5M 1M");
    const snapshotUid = await takeSnapshot(volumes, [root]);
    qemuIo(await headOf(volumes, root), "write -P 0x23 4M 2M");
    const file = await exported(randomUUID(), snapshotUid);
    const bytes = readFileSync(file.path);
    expect(file).toMatchObject({
      checksum: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
      sizeBytes: bytes.length,
      virtualSizeBytes: 32 * 2 ** 20,
    });
    expect(bytes.length).toBeLessThan(2 ** 20);
    const information = informationOf(file.path);
    expect(information).toMatchObject({ "format-specific": { data: { "compression-type": "zstd" } } });
    expect(information).not.toHaveProperty("backing-filename");
    expectPatterns(file.path, "0x11 0 1M", "0x12 1M 1M", "0x21 4M 1M", "0x22 5M 1M", "0 6M 26M");
  });

  test("is not made again, and is removed with all that belongs to it", async () => {
    const imageUid = randomUUID();
    const snapshotUid = await takeSnapshot(volumes, [root]);
    const file = await exported(imageUid, snapshotUid);
    await volumes.snapshots.discard(snapshotUid, [root], options);
    await volumes.close();
    volumes = openVolumes(storage);
    expect(await exported(imageUid, snapshotUid)).toEqual(file);
    expect(await volumes.exports.list(options)).toEqual([imageUid]);
    await volumes.exports.remove(imageUid, options);
    await volumes.exports.remove(imageUid, options);
    expect(await volumes.exports.list(options)).toEqual([]);
  });

  test("of a snapshot that is not there is refused", async () => {
    const want = { imageUid: randomUUID(), disk: root, snapshotUid: randomUUID() };
    expect(await volumes.exports.ensure(want, options)).toMatchObject({
      kind: "refused",
      reason: "NotFound",
    });
    expect(await volumes.exports.list(options)).toEqual([]);
  });

  test("holds merges of its layers up until it is copied", async () => {
    qemuIo(await headOf(volumes, root), "write -P 0x21 2M 30M");
    const first = await takeSnapshot(volumes, [root]);
    const second = await takeSnapshot(volumes, [root]);
    const want = { imageUid: randomUUID(), disk: root, snapshotUid: second };
    const copying = settled(volumes, () => volumes.exports.ensure(want, options));
    await volumes.snapshots.discard(first, [root], options);
    await copying;
    expect(await advance(volumes, root)).toEqual({ kind: "clean" });
    expectPatterns(await headOf(volumes, root), "0x11 0 1M", "0x21 2M 30M");
  });

  test("is taken in by the image cache, and machines start from it", async () => {
    const imageUid = randomUUID();
    qemuIo(await headOf(volumes, root), "write -P 0x21 4M 1M");
    const file = await exported(imageUid, await takeSnapshot(volumes, [root]));
    await using disks = await openCache();
    await volumes.close();
    const findImage = async (uid: string) =>
      uid === storage.image.uid ? storage.image : disks.findImage(uid);
    volumes = openVolumes(storage, { findImage });
    await disks.adoptImage(file, options);
    // The agent was killed before it could remove the rest, and does all of it again.
    await disks.adoptImage(file, options);
    await volumes.exports.remove(imageUid, options);
    expect(disks.images()).toMatchObject([{ uid: imageUid, state: "Ready", checksum: file.checksum }]);
    const allocated = { name: "golden", uid: imageUid, format: "qcow2", compression: "None" } as const;
    const ref = newRoot();
    const used = await disks.useImage(
      allocated,
      (image) => volumes.disks.ensure({ ref, sizeMiB: 64, source: { kind: "image", image } }, options),
      options,
    );
    if (used.kind !== "done" || used.result.kind !== "ready") throw new Error(JSON.stringify(used));
    expectPatterns(used.result.chain.path, "0x11 0 1M", "0x21 4M 1M", "0 32M 32M");
    await disks.evict(new Set(), options);
    expect(disks.images()).toHaveLength(1);
  });
});

const openCache = async () => {
  const disks = await createDisks({
    stateDirectory: storage.local,
    allowedDownloadNetworks: [],
    nodeAddresses: () => [],
    run: runCommand,
    files: createFiles({ roots: [storage.local] }),
    logger: { info: () => {}, warn: () => {}, error: () => {} },
    limits: { cacheBytes: 0 },
    imagesOnDisks: () => volumes.imagesInUse(),
  });
  return Object.assign(disks, { [Symbol.asyncDispose]: () => disks.close() });
};

/** What a guest could do that has broken out into its QEMU process: that may write to its layers. */
describe("a layer that was tampered with", () => {
  const secret = (): string => {
    const path = join(storage.directory, "host-secret");
    writeFileSync(path, "the node's own".repeat(10_000));
    return path;
  };
  const attempts = async (snapshotUid: string) => {
    const copy = {
      ref: newVolume("fast"),
      sizeMiB: 64,
      source: { kind: "snapshot", disk: root, snapshotUid },
    } as const;
    const image = { imageUid: randomUUID(), disk: root, snapshotUid };
    return [
      await settled(volumes, () => volumes.disks.ensure(copy, options)).catch(String),
      await settled(volumes, () => volumes.exports.ensure(image, options)).catch(String),
    ];
  };
  const expectRefused = async (snapshotUid: string): Promise<void> => {
    for (const outcome of await attempts(snapshotUid))
      expect(JSON.stringify(outcome)).toMatch(/which is not|in another file|is not a qcow2 file/);
    await expect(volumes.disks.grow(root, 64, options)).rejects.toThrow(
      /which is not|in another file|not a qcow2/,
    );
  };

  test("to stand on another file of the node is not followed there", async () => {
    const snapshotUid = await takeSnapshot(volumes, [root]);
    const [base] = (await volumes.disks.find(root, options))?.backing ?? [];
    execFileSync("qemu-img", [
      "rebase",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      secret(),
      "-F",
      "raw",
      base?.path ?? "",
    ]);
    await expectRefused(snapshotUid);
  });

  test("to keep its data in another file is not opened", async () => {
    const snapshotUid = await takeSnapshot(volumes, [root]);
    const [base] = (await volumes.disks.find(root, options))?.backing ?? [];
    const file = openSync(base?.path ?? "", "r+");
    // Incompatible feature bit 2 of the header.
    writeSync(file, Buffer.from([0, 0, 0, 0, 0, 0, 0, 4]), 0, 8, 72);
    await expectRefused(snapshotUid);
  });

  test("to be no qcow2 file at all is not opened", async () => {
    const snapshotUid = await takeSnapshot(volumes, [root]);
    const [base] = (await volumes.disks.find(root, options))?.backing ?? [];
    writeFileSync(base?.path ?? "", "something else".repeat(100));
    await expectRefused(snapshotUid);
  });
});
