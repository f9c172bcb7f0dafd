import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type RunCommand, runCommand } from "../../../src/node-agent/host/command.ts";
import type { Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { DiskRef } from "../../../src/node-agent/volumes/types.ts";
import {
  advance,
  blank,
  headOf,
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
  settled,
  type Storage,
  takeSnapshot,
} from "./volumes-fixture.ts";

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

const remove = (ref: DiskRef) => settled(volumes, () => volumes.disks.remove(ref, options));
const reopen = async (
  ...change: Parameters<typeof openVolumes> extends [unknown, ...infer Rest] ? Rest : never
) => {
  await volumes.close();
  volumes = openVolumes(storage, ...change);
};

describe("removing a disk", () => {
  test("leaves nothing of one without snapshots, and can be done again", async () => {
    const ref = newRoot();
    await ready(volumes, onImage(storage, ref));
    expect(await remove(ref)).toEqual({ kind: "gone" });
    expect(await remove(ref)).toEqual({ kind: "gone" });
    expect(listing(join(storage.local, "disks"))).toEqual([]);
    expect(await volumes.imagesInUse()).toEqual(new Set());
  });

  test("keeps the layers that snapshots need until the last of them goes", async () => {
    const ref = newRoot();
    await ready(volumes, onImage(storage, ref));
    qemuIo(await headOf(volumes, ref), "write -P 0x21 4M 1M");
    const first = await takeSnapshot(volumes, [ref]);
    qemuIo(await headOf(volumes, ref), "write -P 0x22 4M 1M");
    const second = await takeSnapshot(volumes, [ref]);
    const head = await headOf(volumes, ref);
    expect(await remove(ref)).toEqual({ kind: "kept", snapshotUids: [first, second] });
    expect(existsSync(head)).toBe(false);
    await expect(volumes.disks.ensure(onImage(storage, ref), options)).rejects.toThrow("was removed");
    expect(await volumes.disks.list(options)).toMatchObject([{ ref, state: "kept" }]);
    await volumes.snapshots.discard(first, [ref], options);
    expect(await advance(volumes, ref)).toEqual({ kind: "clean" });
    const clone = newVolume();
    const source = { kind: "snapshot", disk: ref, snapshotUid: second } as const;
    const { path } = await ready(volumes, { ref: clone, sizeMiB: 32, source });
    expectPatterns(path, "0x11 0 1M", "0x22 4M 1M");
    expect(await volumes.imagesInUse()).toEqual(new Set([storage.image.uid]));
    await volumes.snapshots.discard(second, [ref], options);
    expect(await advance(volumes, ref)).toEqual({ kind: "gone" });
    expect(listing(join(storage.local, "disks"))).toEqual([]);
  });

  test("ends a snapshot and a restore that are under way", async () => {
    const ref = newVolume();
    await ready(volumes, blank(ref));
    const snapshotUid = await takeSnapshot(volumes, [ref]);
    await volumes.restores.prepare({ restoreUid: randomUUID(), snapshotUid, disks: [ref] }, options);
    expect(await remove(ref)).toEqual({ kind: "kept", snapshotUids: [snapshotUid] });
    expect(listing(join(storage.local, "volumes", ref.uid))).toEqual(["base.qcow2", "disk.json"]);
    const other = newVolume();
    await ready(volumes, blank(other));
    const taken = randomUUID();
    await volumes.snapshots.prepare({ snapshotUid: taken, disks: [other], withMemory: false }, options);
    expect(await remove(other)).toEqual({ kind: "kept", snapshotUids: [taken] });
  });

  test("never touches files that are not of the disk", async () => {
    const ref = newVolume();
    const { path } = await ready(volumes, blank(ref));
    const foreign = join(path, "../../somebody-else.qcow2");
    writeFileSync(foreign, "x");
    await remove(ref);
    expect(existsSync(foreign)).toBe(true);
  });
});

describe("the content of a deleted disk", () => {
  const SECRET = "the-guest's-secret";
  const withSecret = async (): Promise<{ readonly ref: DiskRef; readonly path: string }> => {
    const ref = newVolume();
    const { path } = await ready(volumes, blank(ref));
    const plain = join(storage.directory, "secret");
    writeFileSync(plain, SECRET.repeat(100_000));
    qemuIo(path, `write -s ${plain} 4M 1M`);
    rmSync(plain);
    expect(readFileSync(path).includes(SECRET)).toBe(true);
    return { ref, path };
  };
  /** A second name of the file shows what is in its blocks after the first one is gone. */
  const behindItsBack = (path: string): string => {
    const link = join(storage.directory, "still-there");
    linkSync(path, link);
    return link;
  };

  test.each(["None", "Zero", "Discard"] as const)(
    "cannot be read through a new one with wipe %s",
    async (wipe) => {
      await reopen({ wipe });
      const { ref } = await withSecret();
      expect(await remove(ref)).toEqual({ kind: "gone" });
      const { path } = await ready(volumes, blank(newVolume()));
      expect(readFileSync(path).includes(SECRET)).toBe(false);
      expectPatterns(path, "0 0 32M");
      qemuIo(path, "write -P 0x55 4M 4k");
      expectPatterns(path, "0 0 4M", "0 4100k 4M");
    },
  );

  test("is overwritten before it goes with wipe Zero", async () => {
    await reopen({ wipe: "Zero" });
    const { ref, path } = await withSecret();
    const link = behindItsBack(path);
    const { size } = statSync(path);
    await remove(ref);
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(link).equals(Buffer.alloc(size))).toBe(true);
  });

  test("gives its blocks back before it goes with wipe Discard", async () => {
    await reopen({ wipe: "Discard" });
    const { ref, path } = await withSecret();
    const link = behindItsBack(path);
    await remove(ref);
    expect(existsSync(path)).toBe(false);
    expect(statSync(link).blocks).toBe(0);
  });

  test("is overwritten where blocks cannot be given back", async () => {
    const withoutHoles: RunCommand = async (file, args, how) =>
      runCommand(
        ...(file === "fallocate"
          ? (["sh", ["-c", "echo 'Operation not supported' >&2; exit 1"]] as const)
          : ([file, args] as const)),
        how,
      );
    await reopen({ wipe: "Discard", run: withoutHoles });
    const { ref, path } = await withSecret();
    const link = behindItsBack(path);
    await remove(ref);
    expect(readFileSync(link).includes(SECRET)).toBe(false);
  });

  test("goes too when it was merged into another layer", async () => {
    await reopen({ wipe: "Zero" });
    const { ref, path } = await withSecret();
    const link = behindItsBack(path);
    const snapshotUid = await takeSnapshot(volumes, [ref]);
    await volumes.snapshots.discard(snapshotUid, [ref], options);
    expect(await advance(volumes, ref)).toEqual({ kind: "clean" });
    expect(readFileSync(link).includes(SECRET)).toBe(false);
    expect(readFileSync(await headOf(volumes, ref)).includes(SECRET)).toBe(true);
  });

  test("is wiped although the disk's record was lost", async () => {
    await reopen({ wipe: "Zero" });
    const { ref, path } = await withSecret();
    const link = behindItsBack(path);
    rmSync(join(path, "../disk.json"));
    expect(await remove(ref)).toEqual({ kind: "gone" });
    expect(readFileSync(link).includes(SECRET)).toBe(false);
    expect(listing(join(storage.local, "volumes"))).toEqual([]);
  });

  test("is wiped with its memory and what was half copied when the disk has moved to another node", async () => {
    await reopen({ wipe: "Zero" });
    const { ref, path } = await withSecret();
    const memory = join(path, "..", "memory");
    mkdirSync(memory);
    const links = [join(memory, randomUUID()), `${path}.new`].map((file, index) => {
      writeFileSync(file, SECRET);
      const link = join(storage.directory, `still-there-${index}`);
      linkSync(file, link);
      return link;
    });
    await volumes.transfers.drop(ref, {}, options);
    expect(listing(join(storage.local, "volumes"))).toEqual([]);
    for (const link of links) expect(readFileSync(link)).toEqual(Buffer.alloc(SECRET.length));
  });

  test("is wiped where a copy of it that was cut short is begun again", async () => {
    await reopen({ wipe: "Zero" });
    const { ref: disk } = await withSecret();
    const snapshotUid = await takeSnapshot(volumes, [disk]);
    const ref = newVolume();
    const unfinished = join(storage.local, "volumes", ref.uid, "base.qcow2.new");
    mkdirSync(join(unfinished, ".."));
    writeFileSync(unfinished, SECRET);
    const link = behindItsBack(unfinished);
    await ready(volumes, { ref, sizeMiB: 32, source: { kind: "snapshot", disk, snapshotUid } });
    expect(readFileSync(link)).toEqual(Buffer.alloc(SECRET.length));
  });

  test("is wiped by the next agent when one was killed before", async () => {
    await reopen({ wipe: "Zero" });
    const { ref, path } = await withSecret();
    const link = behindItsBack(path);
    // The first agent gets no further than writing down that the disk is to go.
    expect((await volumes.disks.remove(ref, options)).kind).toBe("working");
    await reopen({ wipe: "Zero" });
    expect(await remove(ref)).toEqual({ kind: "gone" });
    expect(readFileSync(link).includes(SECRET)).toBe(false);
  });
});

describe("a retained disk", () => {
  const retained = async (): Promise<DiskRef> => {
    const ref = newVolume();
    const { path } = await ready(volumes, blank(ref));
    qemuIo(path, "write -P 0x21 4M 1M");
    await volumes.disks.retain(ref, { namespace: "shop", name: "data" }, options);
    return ref;
  };

  test("is listed with whose it was, and is not used by accident", async () => {
    const ref = await retained();
    expect(await volumes.disks.list(options)).toMatchObject([
      { ref, state: "kept", retained: { namespace: "shop", name: "data" } },
    ]);
    await expect(volumes.disks.ensure(blank(ref), options)).rejects.toThrow("adopt it");
  });

  test("becomes a later Volume's of the same namespace", async () => {
    const { uid: retainedUid } = await retained();
    const ref = newVolume();
    const adoption = { ref, retainedUid, namespace: "shop" };
    expect(await volumes.disks.adopt(adoption, options)).toEqual({ kind: "adopted" });
    expect(await volumes.disks.adopt(adoption, options)).toEqual({ kind: "adopted" });
    expectPatterns((await ready(volumes, blank(ref))).path, "0x21 4M 1M");
    expect(listing(join(storage.local, "volumes"))).toEqual([ref.uid]);
  });

  test("with layers that had not been merged yet keeps its content", async () => {
    const former = newVolume();
    await ready(volumes, blank(former));
    qemuIo(await headOf(volumes, former), "write -P 0x21 4M 1M");
    const snapshotUid = await takeSnapshot(volumes, [former]);
    qemuIo(await headOf(volumes, former), "write -P 0x22 5M 1M");
    await volumes.disks.retain(former, { namespace: "shop", name: "data" }, options);
    const ref = newVolume();
    const adoption = { ref, retainedUid: former.uid, namespace: "shop" };
    expect(await volumes.disks.adopt(adoption, options)).toMatchObject({ kind: "refused" });
    await volumes.snapshots.discard(snapshotUid, [former], options);
    expect(await volumes.disks.adopt(adoption, options)).toEqual({ kind: "adopted" });
    expectPatterns((await ready(volumes, blank(ref))).path, "0x21 4M 1M", "0x22 5M 1M");
    expect(await advance(volumes, ref)).toEqual({ kind: "clean" });
    expectPatterns(await headOf(volumes, ref), "0x21 4M 1M", "0x22 5M 1M");
  });

  test("looks to another namespace as if there were none", async () => {
    const { uid: retainedUid } = await retained();
    const ref = newVolume();
    const theirs = await volumes.disks.adopt({ ref, retainedUid, namespace: "other" }, options);
    const none = await volumes.disks.adopt({ ref, retainedUid: randomUUID(), namespace: "other" }, options);
    expect(theirs.kind).toBe("refused");
    expect(JSON.stringify(theirs).replace(retainedUid, "")).toBe(
      JSON.stringify(none).replace(/[0-9a-f-]{36}/, ""),
    );
  });

  test("whose adoption was cut short is used by whoever has it now", async () => {
    const former = newVolume();
    await ready(volumes, blank(former));
    qemuIo(await headOf(volumes, former), "write -P 0x21 4M 1M");
    const snapshotUid = await takeSnapshot(volumes, [former]);
    await volumes.snapshots.discard(snapshotUid, [former], options);
    await volumes.disks.retain(former, { namespace: "shop", name: "data" }, options);
    const ref = newVolume();
    // The agent was killed when it had renamed the directory.
    renameSync(join(storage.local, "volumes", former.uid), join(storage.local, "volumes", ref.uid));
    const { path } = await ready(volumes, blank(ref));
    expectPatterns(path, "0x21 4M 1M");
    expect((await volumes.disks.list(options))[0]).not.toHaveProperty("retained");
    await expect(
      volumes.disks.adopt({ ref, retainedUid: ref.uid, namespace: "shop" }, options),
    ).rejects.toThrow("itself");
  });

  test("goes when it is removed after all", async () => {
    const ref = await retained();
    expect(await remove(ref)).toEqual({ kind: "gone" });
    expect(listing(join(storage.local, "volumes"))).toEqual([]);
  });
});
