import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  diskOn,
  goodQcow2,
  imageAt,
  informationOf,
  listing,
  makeDirectory,
  openDisks,
  ready,
  settle,
  signal,
  type ImagesAndDisks,
} from "./disks-fixture.ts";
import { type ImageServer, startImageServer } from "./image-server.ts";

let server: ImageServer;
let stateDirectory: string;
let disks: ImagesAndDisks;
let good: Buffer;

beforeAll(() => {
  good = goodQcow2();
});
beforeEach(async () => {
  server = await startImageServer();
  server.serve("/image", { bytes: good });
  stateDirectory = makeDirectory();
  disks = await openDisks(stateDirectory);
});
afterEach(async () => {
  await disks.close();
  await server[Symbol.asyncDispose]();
  rmSync(stateDirectory, { recursive: true });
});

const guestWrites = (path: string): void => {
  execFileSync("qemu-io", ["-f", "qcow2", "-c", "write -P 0x21 20M 64k", path], { stdio: "pipe" });
};

describe("a root disk on an image of the cache", () => {
  test("is an overlay of the flavor's size with explicit formats", async () => {
    const want = diskOn(imageAt(server.url("/image")), { sizeMiB: 100 });
    const outcome = await ready(disks, want);
    const image = join(stateDirectory, "images", want.image.uid, "disk.qcow2");
    expect(outcome).toEqual({
      kind: "ready",
      path: join(stateDirectory, "disks", want.vmUid, "base.qcow2"),
      backing: { path: image, format: "qcow2", isImage: true },
    });
    expect(informationOf(outcome.path)).toMatchObject({
      "virtual-size": 100 * 2 ** 20,
      "backing-filename": image,
      "backing-filename-format": "qcow2",
    });
    expect(readFileSync(image).equals(good)).toBe(true);
  });

  test("can be read by QEMU, whose user cannot change the image", async () => {
    const { path, backing } = await ready(disks, diskOn(imageAt(server.url("/image"))));
    expect(statSync(backing.path).mode & 0o777).toBe(0o444);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const asNobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", "sh", "-c"];
    const attempt = (command: string) => () =>
      execFileSync("setpriv", [...asNobody, command, "sh", backing.path], { stdio: "pipe" });
    expect(attempt('head -c 4 "$1"')().subarray(0, 3).toString()).toBe("QFI");
    expect(attempt('echo x >>"$1"')).toThrow("Permission denied");
    expect(attempt('mv "$1" "$1.away"')).toThrow("Permission denied");
  });

  test("that exists is never made again, also by the next agent", async () => {
    const want = diskOn(imageAt(server.url("/image")));
    const { path } = await ready(disks, want);
    guestWrites(path);
    const before = readFileSync(path);
    await ready(disks, want);
    const next = await openDisks(stateDirectory);
    await ready(next, want);
    await next.close();
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(server.requests).toHaveLength(1);
  });

  test("that a killed agent left half-made is made", async () => {
    const want = diskOn(imageAt(server.url("/image")));
    mkdirSync(join(stateDirectory, "disks", want.vmUid), { recursive: true });
    writeFileSync(join(stateDirectory, "disks", want.vmUid, "base.qcow2.new"), "half");
    expect((await disks.volumes.disks.list({ signal })).map(({ ref }) => ref.uid)).toEqual([want.vmUid]);
    const { path } = await ready(disks, want);
    expect(informationOf(path)).toMatchObject({ format: "qcow2" });
    expect(listing(join(path, ".."))).toEqual(["base.qcow2", "disk.json"]);
  });

  test("that is too small for the image is refused, and nothing is made", async () => {
    const outcome = await settle(disks, diskOn(imageAt(server.url("/image")), { sizeMiB: 15 }));
    expect(outcome).toEqual({
      kind: "refused",
      reason: "TooLarge",
      message: "the disk in the image has 16 MiB, but the new disk is to have 15 MiB; make it larger",
    });
    expect((await disks.volumes.disks.list({ signal })).map(({ ref }) => ref.uid)).toEqual([]);
  });

  test("is removed with all that belongs to it, and removing it again is fine", async () => {
    const want = diskOn(imageAt(server.url("/image")));
    await ready(disks, want);
    await disks.remove(want.vmUid, { signal });
    await disks.remove(want.vmUid, { signal });
    expect(listing(join(stateDirectory, "disks"))).toEqual([]);
  });

  test("is not put on another content than it was made on", async () => {
    server.serve("/image", { bytes: good, etag: '"one"' });
    const want = diskOn(imageAt(server.url("/image")));
    const { path, backing } = await ready(disks, want);
    const before = readFileSync(path);
    rmSync(backing.path);
    server.serve("/image", { bytes: goodQcow2() });
    expect(await settle(disks, want)).toMatchObject({ kind: "refused", reason: "ChecksumMismatch" });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test.each(["../../etc", "", "a/b", "00000000-0000-0000-0000-00000000000G"])(
    "is made only for a UID, not for %j",
    async (vmUid) => {
      const want = diskOn(imageAt(server.url("/image")), { vmUid });
      await expect(ready(disks, want)).rejects.toThrow("not a UID");
      await expect(disks.remove(vmUid, { signal })).rejects.toThrow("not a UID");
    },
  );

  test("is made only on an image with a UID", async () => {
    const want = diskOn(imageAt(server.url("/image"), { uid: "../../etc" }));
    await expect(ready(disks, want)).rejects.toThrow("not a UID");
  });
});
