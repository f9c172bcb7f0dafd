import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  diskOn,
  goodQcow2,
  imageAt,
  listing,
  makeDirectory,
  openDisks,
  ready,
  settle,
  sha256,
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

const imported = (file: string, change: Parameters<typeof imageAt>[1] = {}) => {
  const { url: _, ...image } = imageAt("", change);
  return diskOn({ ...image, file });
};

describe("the import directory", () => {
  let importDirectory: string;
  beforeEach(async () => {
    importDirectory = makeDirectory();
    await disks.close();
    disks = await openDisks(stateDirectory, { importDirectory });
  });
  afterEach(() => rmSync(importDirectory, { recursive: true }));

  test("is a source of images, which are copies", async () => {
    const path = join(importDirectory, "debian.qcow2");
    writeFileSync(path, good);
    const { backing } = await ready(disks, imported("debian.qcow2", { checksum: sha256(good) }));
    writeFileSync(path, "changed later");
    expect(readFileSync(backing.path).equals(good)).toBe(true);
  });

  test.each([
    ["a link to a file of the host", (path: string) => symlinkSync("/etc/hostname", path)],
    ["a link to its neighbour", (path: string) => symlinkSync("debian.qcow2", path)],
    ["a device by its number", (path: string) => void execFileSync("mknod", [path, "c", "1", "5"])],
    ["a FIFO", (path: string) => void execFileSync("mkfifo", [path])],
    ["a directory", (path: string) => mkdirSync(path)],
    ["nothing", () => {}],
  ])("does not give %s", async (_sentence, make) => {
    writeFileSync(join(importDirectory, "debian.qcow2"), good);
    make(join(importDirectory, "x"));
    const before = listing(stateDirectory);
    expect(await settle(disks, imported("x"))).toMatchObject({ kind: "refused", reason: "NotFound" });
    expect(listing(stateDirectory)).toEqual(before);
  });

  test.each(["../disks.test.ts", "/etc/hostname", "a/b", "..", ".", "", "a\n", "-x", "a\u0000b"])(
    "has no file by the name of %j",
    async (name) => {
      expect(await settle(disks, imported(name))).toMatchObject({ kind: "refused", reason: "NotFound" });
    },
  );

  test("that was not named gives nothing", async () => {
    await disks.close();
    disks = await openDisks(stateDirectory);
    const outcome = await settle(disks, imported("debian.qcow2"));
    expect(outcome).toMatchObject({
      reason: "NotFound",
      message: expect.stringContaining("--import-directory"),
    });
  });

  test("gives a file that comes later, when it is looked at again", async () => {
    await disks.close();
    let now = Date.now();
    disks = await openDisks(stateDirectory, { importDirectory, now: () => new Date(now) });
    const want = imported("debian.qcow2");
    expect(await settle(disks, want)).toMatchObject({ reason: "NotFound" });
    writeFileSync(join(importDirectory, "debian.qcow2"), good);
    now += 300_000;
    const changed = Promise.withResolvers<void>();
    disks.onImageChange(() => changed.resolve());
    expect(await settle(disks, want)).toMatchObject({ reason: "NotFound" });
    await changed.promise;
    await ready(disks, want);
  });
});
