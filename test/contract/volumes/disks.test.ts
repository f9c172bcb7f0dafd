import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { DesiredDisk } from "../../../src/node-agent/volumes/types.ts";
import {
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
  settled,
  type Storage,
  takeSnapshot,
} from "./volumes-fixture.ts";

const MiB = 2 ** 20;
/** Which part of a disk comes from which file: at depth 0 from the disk's own. */
const map = (path: string): string =>
  execFileSync("qemu-img", ["map", "-f", "qcow2", "--output=json", path], { encoding: "utf8" });

let storage: Storage;
let volumes: Volumes;

beforeEach(() => {
  storage = makeStorage();
  volumes = openVolumes(storage);
});
afterEach(async () => {
  await volumes.close();
  rmSync(storage.directory, { recursive: true });
});

describe("a disk", () => {
  test("on an image in the pool local is an overlay with explicit formats", async () => {
    const ref = newRoot();
    const chain = await ready(volumes, onImage(storage, ref));
    const path = join(storage.local, "disks", ref.uid, "base.qcow2");
    expect(chain).toEqual({
      ref,
      path,
      backing: [{ path: storage.image.path, format: "qcow2", isImage: true }],
      virtualSizeBytes: 32 * MiB,
    });
    expect(informationOf(path)).toMatchObject({
      "virtual-size": 32 * MiB,
      "backing-filename": storage.image.path,
      "backing-filename-format": "qcow2",
    });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o711);
    expectPatterns(path, "0x11 0 1M", "0x12 1M 1M", "0 2M 30M");
  });

  test("on an image in another pool is a copy that stands on nothing", async () => {
    const chain = await ready(volumes, onImage(storage, newRoot("fast")));
    expect(chain.backing).toEqual([]);
    rmSync(storage.image.path);
    expectSound(chain.path);
    expectPatterns(chain.path, "0x11 0 1M", "0x12 1M 1M", "0 2M 30M");
    expect(await volumes.imagesInUse()).toEqual(new Set());
  });

  test("that is blank reads as zeros", async () => {
    const chain = await ready(volumes, blank(newVolume("fast")));
    expect(chain).toMatchObject({ backing: [], virtualSizeBytes: 32 * MiB });
    expectPatterns(chain.path, "0 0 32M");
  });

  test("that exists is never made again, also by the next agent", async () => {
    const want = onImage(storage, newRoot());
    const { path } = await ready(volumes, want);
    qemuIo(path, "write -P 0x21 5M 1M");
    await ready(volumes, want);
    await volumes.close();
    volumes = openVolumes(storage);
    expect((await ready(volumes, want)).path).toBe(path);
    expectPatterns(path, "0x21 5M 1M", "0x11 0 1M");
  });

  test("that an agent made which knew no layers is recognised, and has snapshots from then on", async () => {
    const ref = newRoot();
    const directory = join(storage.local, "disks", ref.uid);
    const path = join(directory, "root.qcow2");
    mkdirSync(directory, { recursive: true });
    const { uid: imageUid, checksum, path: image } = storage.image;
    writeFileSync(join(directory, "disk.json"), `${JSON.stringify({ imageUid, checksum })}\n`);
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", image, "-F", "qcow2", path, "32M"]);
    qemuIo(path, "write -P 0x21 5M 1M");
    expect(await volumes.imagesInUse()).toEqual(new Set([imageUid]));
    expect(await ready(volumes, onImage(storage, ref))).toMatchObject({ path, virtualSizeBytes: 32 * MiB });
    await takeSnapshot(volumes, [ref]);
    const head = await headOf(volumes, ref);
    expect(head).not.toBe(path);
    expectPatterns(head, "0x21 5M 1M", "0x11 0 1M");
    expect(await volumes.disks.list(options)).toMatchObject([{ ref, state: "ready" }]);
  });

  test("that an agent of that kind left half-made is made", async () => {
    const ref = newRoot();
    const directory = join(storage.local, "disks", ref.uid);
    mkdirSync(directory, { recursive: true });
    const { uid: imageUid, checksum } = storage.image;
    writeFileSync(join(directory, "disk.json"), JSON.stringify({ imageUid, checksum }));
    const { path } = await ready(volumes, onImage(storage, ref));
    expectPatterns(path, "0x11 0 1M");
  });

  test.each(["local", "fast"])("that is too small for its image is refused in pool %s", async (pool) => {
    const ref = newRoot(pool);
    const outcome = await volumes.disks.ensure(onImage(storage, ref, 15), options);
    expect(outcome).toEqual({
      kind: "refused",
      reason: "TooLarge",
      message: "the disk in the image has 16 MiB, but the new disk is to have 15 MiB; make it larger",
    });
    expect(await volumes.disks.list(options)).toEqual([]);
  });

  test("is not put on another content than it was made on", async () => {
    const ref = newRoot();
    await ready(volumes, onImage(storage, ref));
    const image = { ...storage.image, checksum: `sha256:${"1".repeat(64)}` };
    const want: DesiredDisk = { ref, sizeMiB: 32, source: { kind: "image", image } };
    expect(await volumes.disks.ensure(want, options)).toMatchObject({
      kind: "refused",
      reason: "ChecksumMismatch",
    });
  });

  test("grows, and never shrinks", async () => {
    const ref = newVolume();
    const { path } = await ready(volumes, blank(ref));
    qemuIo(path, "write -P 0x21 31M 1M");
    await volumes.disks.grow(ref, 64, options);
    await volumes.disks.grow(ref, 16, options);
    expect(await volumes.disks.find(ref, options)).toMatchObject({ virtualSizeBytes: 64 * MiB });
    expectPatterns(path, "0x21 31M 1M", "0 32M 32M");
  });

  test.each(["../../etc", "", "00000000-0000-0000-0000-00000000000G"])(
    "is made only for a UID, not for %j",
    async (uid) => {
      const want = blank({ pool: "local", kind: "volume", uid });
      await expect(volumes.disks.ensure(want, options)).rejects.toThrow("not a UID");
      await expect(volumes.disks.remove(want.ref, options)).rejects.toThrow("not a UID");
    },
  );

  test("is made only in a pool that the node has, and whose directory is there", async () => {
    await expect(ready(volumes, blank(newVolume("slow")))).rejects.toThrow("no storage pool");
    rmSync(storage.fast, { recursive: true });
    await expect(ready(volumes, blank(newVolume("fast")))).rejects.toThrow("does not exist");
    expect(existsSync(storage.fast)).toBe(false);
    expect((await volumes.pools(options)).map(({ name }) => name)).toEqual(["local"]);
  });

  test("whose record cannot be read is left alone, and its image is kept", async () => {
    const ref = newRoot();
    const { path } = await ready(volumes, onImage(storage, ref));
    writeFileSync(join(path, "../disk.json"), `{"version":3,"base":"${storage.image.uid}"`);
    await expect(volumes.disks.ensure(onImage(storage, ref), options)).rejects.toThrow("disk.json");
    await expect(volumes.disks.remove(ref, options)).rejects.toThrow("disk.json");
    expect(await volumes.disks.list(options)).toMatchObject([{ ref, state: "damaged" }]);
    expect(await volumes.imagesInUse()).toEqual(new Set([storage.image.uid]));
    expectPatterns(path, "0x11 0 1M");
  });

  test("whose record was lost is not made again over its data", async () => {
    const ref = newVolume();
    const { path } = await ready(volumes, blank(ref));
    qemuIo(path, "write -P 0x21 0 1M");
    rmSync(join(path, "../disk.json"));
    await expect(volumes.disks.ensure(blank(ref), options)).rejects.toThrow("its record disk.json is not");
    expectPatterns(path, "0x21 0 1M");
  });
});

describe("a copy of a disk as a snapshot shows it", () => {
  /** A machine's disk with three layers on the image; the head has changed since the snapshot. */
  const source = async (pool = "local") => {
    const ref = newRoot(pool);
    await ready(volumes, onImage(storage, ref));
    qemuIo(await headOf(volumes, ref), "write -P 0x31 4M 1M");
    await takeSnapshot(volumes, [ref]);
    qemuIo(await headOf(volumes, ref), "write -P 0x32 5M 1M", "write -z 1M 1M");
    const snapshotUid = await takeSnapshot(volumes, [ref]);
    qemuIo(await headOf(volumes, ref), "write -P 0x33 4M 2M");
    return { ref, snapshotUid };
  };
  const expected = ["0x11 0 1M", "0 1M 1M", "0x31 4M 1M", "0x32 5M 1M", "0 6M 58M"] as const;

  const copy = async (from: string, to: string) => {
    const { ref, snapshotUid } = await source(from);
    const want: DesiredDisk = {
      ref: newVolume(to),
      sizeMiB: 64,
      source: { kind: "snapshot", disk: ref, snapshotUid },
    };
    return ready(volumes, want);
  };

  test("stays on the image when both are local, and has only what is above it", async () => {
    const chain = await copy("local", "local");
    expect(chain.backing).toEqual([{ path: storage.image.path, format: "qcow2", isImage: true }]);
    expectSound(chain.path);
    expectPatterns(chain.path, ...expected);
    expect(JSON.parse(map(chain.path))[0]).toMatchObject({ start: 0, depth: 1, length: MiB });
  });

  test.each([
    ["local", "fast"],
    ["fast", "local"],
    ["fast", "fast"],
  ])("stands on nothing from %s to %s", async (from, to) => {
    const chain = await copy(from, to);
    expect(chain).toMatchObject({ backing: [], virtualSizeBytes: 64 * MiB });
    expectSound(chain.path);
    expectPatterns(chain.path, ...expected);
  });

  test("does not need its source any more", async () => {
    const { ref, snapshotUid } = await source();
    const want: DesiredDisk = {
      ref: newVolume("fast"),
      sizeMiB: 64,
      source: { kind: "snapshot", disk: ref, snapshotUid },
    };
    const { path } = await ready(volumes, want);
    for (const { snapshots } of await volumes.disks.list(options))
      for (const { uid } of snapshots) await volumes.snapshots.discard(uid, [ref], options);
    expect(await settled(volumes, () => volumes.disks.remove(ref, options))).toEqual({ kind: "gone" });
    await ready(volumes, want);
    expectPatterns(path, ...expected);
  });

  test("is refused when there is no such snapshot, or when it does not fit", async () => {
    const { ref, snapshotUid } = await source();
    const wrong: DesiredDisk = {
      ref: newVolume(),
      sizeMiB: 64,
      source: { kind: "snapshot", disk: ref, snapshotUid: randomUUID() },
    };
    expect(await volumes.disks.ensure(wrong, options)).toMatchObject({ kind: "refused", reason: "NotFound" });
    const small: DesiredDisk = {
      ref: newVolume(),
      sizeMiB: 31,
      source: { kind: "snapshot", disk: ref, snapshotUid },
    };
    expect(await volumes.disks.ensure(small, options)).toMatchObject({ kind: "refused", reason: "TooLarge" });
  });
});

describe("the pools", () => {
  test("are told with their sizes", async () => {
    expect(await volumes.pools(options)).toEqual([
      {
        name: "local",
        shared: false,
        wipe: "None",
        capacityMiB: expect.any(Number),
        availableMiB: expect.any(Number),
      },
      {
        name: "fast",
        shared: true,
        wipe: "None",
        capacityMiB: expect.any(Number),
        availableMiB: expect.any(Number),
      },
    ]);
  });

  test("are looked through for a disk", async () => {
    const ref = newVolume("fast");
    await ready(volumes, blank(ref));
    expect(await volumes.disks.locate("volume", ref.uid, options)).toEqual(ref);
    expect(await volumes.disks.locate("root", ref.uid, options)).toBeUndefined();
  });

  test("have nothing in them but what belongs to disks", async () => {
    const ref = newVolume("fast");
    await ready(volumes, blank(ref));
    expect(listing(join(storage.fast, "volumes", ref.uid))).toEqual(["base.qcow2", "disk.json"]);
  });
});
