import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type RunCommand, runCommand } from "../../../src/node-agent/host/command.ts";
import {
  diskOn,
  goodQcow2,
  imageAt,
  informationOf,
  listing,
  made,
  makeDirectory,
  openDisks,
  ready,
  settle,
  sha256,
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

/** The good image, packed in two parts behind each other. */
const inParts = (program: string): Buffer => {
  const pack = (bytes: Buffer) => execFileSync(program, ["-c"], { input: bytes, maxBuffer: 2 ** 25 });
  return Buffer.concat([pack(good.subarray(0, 300_000)), pack(good.subarray(300_000))]);
};

describe("the image cache", () => {
  test("downloads an image once for twenty machines that want it at the same time", async () => {
    const image = imageAt(server.url("/image"));
    server.serve("/image", { bytes: good, holdAfter: 100_000 });
    const machines = Array.from({ length: 20 }, () => diskOn(image));
    const first = await Promise.all(machines.map((want) => disks.ensureRootDisk(want, { signal })));
    expect(first.map(({ kind }) => kind)).toEqual(machines.map(() => "fetching"));
    server.release();
    await Promise.all(machines.map((want) => ready(disks, want)));
    expect(server.requests).toHaveLength(1);
    expect((await disks.volumes.disks.list({ signal })).map(({ ref }) => ref.uid)).toEqual(
      machines.map(({ vmUid }) => vmUid).sort(),
    );
  });

  test("tells what it holds, also right after a start", async () => {
    const image = imageAt(server.url("/image"), { checksum: sha256(good) });
    await ready(disks, diskOn(image));
    const expected = [
      {
        uid: image.uid,
        state: "Ready",
        sizeBytes: expect.any(Number),
        virtualSizeBytes: 16 * 2 ** 20,
        checksum: sha256(good),
      },
    ];
    expect(disks.images()).toEqual(expected);
    const next = await openDisks(stateDirectory);
    expect(next.images()).toEqual(expected);
    await next.close();
  });

  test("accepts a checksum by SHA-512 and reports one by SHA-256", async () => {
    const [sum = ""] = execFileSync("sha512sum", { input: good }).toString().split(" ");
    await ready(disks, diskOn(imageAt(server.url("/image"), { checksum: `sha512:${sum}` })));
    expect(disks.images()).toMatchObject([{ checksum: sha256(good) }]);
  });

  test.each([
    ["Gzip", () => gzipSync(good)],
    ["Gzip", () => inParts("gzip")],
    ["Xz", () => inParts("xz")],
    ["Zstd", () => inParts("zstd")],
    [
      "Zstd",
      () => execFileSync("zstd", ["--ultra", "-22", "--long=27", "-c"], { input: good, maxBuffer: 2 ** 25 }),
    ],
  ] as const)(
    "unpacks %s, of several parts too, and checks the file as it was served",
    async (compression, pack) => {
      const bytes = pack();
      server.serve("/packed", { bytes });
      const { backing } = await ready(
        disks,
        diskOn(imageAt(server.url("/packed"), { compression, checksum: sha256(bytes) })),
      );
      expect(readFileSync(backing.path).equals(good)).toBe(true);
      expect(listing(join(backing.path, ".."))).toEqual(["disk.qcow2", "image.json"]);
    },
  );

  test("takes a raw image, and keeps its emptiness off the disk", async () => {
    const raw = Buffer.alloc(16 * 2 ** 20);
    raw.write("boot", 0);
    raw.write("end", raw.length - 3);
    server.serve("/raw", { bytes: raw });
    const { path, backing } = await ready(disks, diskOn(imageAt(server.url("/raw"), { format: "raw" })));
    expect(backing.format).toBe("raw");
    expect(readFileSync(backing.path).equals(raw)).toBe(true);
    expect(statSync(backing.path).blocks * 512).toBeLessThan(2 ** 21);
    expect(informationOf(path)).toMatchObject({ "backing-filename-format": "raw" });
  });

  test("follows a redirect", async () => {
    server.serve("/moved", { location: "/image" });
    await ready(disks, diskOn(imageAt(server.url("/moved"))));
    expect(server.requests.map(({ path }) => path)).toEqual(["/moved", "/image"]);
  });

  test("accepts an image that QEMU made with its own compression and extended entries", async () => {
    const bytes = made(
      "i",
      ["dd", "if=/dev/urandom", "of=d", "bs=64K", "count=4"],
      [
        "qemu-img",
        "convert",
        "-c",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-o",
        "compression_type=zstd,extended_l2=on,cluster_size=128k",
        "d",
        "i",
      ],
    );
    server.serve("/zstd", { bytes });
    await ready(disks, diskOn(imageAt(server.url("/zstd"))));
    expect(disks.images()).toMatchObject([{ state: "Ready" }]);
  });

  test("says what to do when QEMU's user cannot reach the images", async () => {
    chmodSync(stateDirectory, 0o700);
    const outcome = await settle(disks, diskOn(imageAt(server.url("/image"))));
    expect(outcome).toMatchObject({ kind: "failed", reason: "FetchFailed" });
    expect(outcome).toMatchObject({ message: expect.stringContaining("passable") });
  });

  test.each([
    ["a program of the node is missing", "qemu-img", "missing on the node"],
    ["the node cannot confine a program", "--net", "cannot be confined"],
  ])("asks again when %s, rather than blaming the image", async (_sentence, word, message) => {
    await disks.close();
    const run: RunCommand = (file, args, options) =>
      runCommand(
        file,
        args.map((arg) => (arg === word ? "--no-such-thing" : arg)),
        options,
      );
    disks = await openDisks(stateDirectory, { run });
    const outcome = await settle(disks, diskOn(imageAt(server.url("/image"))));
    expect(outcome).toMatchObject({ kind: "failed", message: expect.stringContaining(message) });
  });
});
