import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, truncateSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { AllocatedImage } from "../../../src/node-agent/disks/types.ts";
import {
  diskOn,
  goodQcow2,
  imageAt,
  informationOf,
  listing,
  makeDirectory,
  openDisks,
  ready,
  type RootDisk,
  settle,
  sha256,
  signal,
} from "./disks-fixture.ts";
import { type ImageServer, startImageServer } from "./image-server.ts";

let server: ImageServer;
let stateDirectory: string;
let good: Buffer;

beforeAll(() => {
  good = goodQcow2();
});
beforeEach(async () => {
  server = await startImageServer();
  stateDirectory = makeDirectory();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(stateDirectory, { recursive: true });
});

const incoming = ({ uid }: AllocatedImage, name: string): string =>
  join(stateDirectory, "images", ".incoming", uid, name);

const durableBytes = (image: AllocatedImage): number => {
  const path = incoming(image, "download.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).durableBytes : 0;
};

/** Waits until a download has got so far that it can be resumed. */
const checkpoint = async (image: AllocatedImage, bytes: number): Promise<void> => {
  const stop = new AbortController();
  const watcher = watch(stateDirectory, { recursive: true, signal: stop.signal });
  try {
    while (durableBytes(image) < bytes) await once(watcher, "change");
  } finally {
    stop.abort();
  }
};

/** Another agent in a process of its own, making a disk on the image. */
const startAgent = (want: RootDisk) => {
  const script = join(import.meta.dirname, "fetching-agent.ts");
  const agent = spawn(process.execPath, [script, stateDirectory, JSON.stringify(want)], { stdio: "inherit" });
  const ended = once(agent, "exit");
  return {
    ended,
    kill: async () => {
      agent.kill("SIGKILL");
      await ended;
    },
  };
};

/** Has another process fetch the image, and kills it when it has got so far. */
const killAfter = async (image: AllocatedImage, bytes: number): Promise<void> => {
  const agent = startAgent(diskOn(image));
  await checkpoint(image, bytes);
  await agent.kill();
};

/** Has a new agent make a disk on the image, and returns the content of its cache. */
const finish = async (image: AllocatedImage): Promise<Buffer> => {
  const disks = await openDisks(stateDirectory);
  try {
    const outcome = await settle(disks, diskOn(image));
    if (outcome.kind !== "ready") throw new Error(JSON.stringify(outcome));
    expect(listing(join(stateDirectory, "images", ".incoming"))).toEqual([]);
    return readFileSync(outcome.backing.path);
  } finally {
    await disks.close();
  }
};

describe("a download of a killed agent", () => {
  test("is gone on with by the next one", async () => {
    const image = imageAt(server.url("/image"), { checksum: sha256(good) });
    server.serve("/image", { bytes: good, etag: '"one"', holdAfter: 500_000 });
    await killAfter(image, 300_000);
    server.serve("/image", { bytes: good, etag: '"one"' });
    expect((await finish(image)).equals(good)).toBe(true);
    expect(server.requests).toHaveLength(2);
    const from = Number(/^bytes=(\d+)-$/.exec(server.requests[1]?.range ?? "")?.[1]);
    expect(from).toBeGreaterThanOrEqual(300_000);
    expect(server.requests[1]?.ifRange).toBe('"one"');
  });

  test("is begun anew when the content has changed meanwhile", async () => {
    const image = imageAt(server.url("/image"));
    server.serve("/image", { bytes: good, etag: '"one"', holdAfter: 500_000 });
    await killAfter(image, 300_000);
    const other = goodQcow2();
    server.serve("/image", { bytes: other, etag: '"two"' });
    expect((await finish(image)).equals(other)).toBe(true);
  });

  test("is begun anew when the server cannot tell contents apart", async () => {
    const image = imageAt(server.url("/image"));
    server.serve("/image", { bytes: good, holdAfter: 500_000 });
    const watcher = watch(stateDirectory, { recursive: true });
    const agent = startAgent(diskOn(image));
    while (!existsSync(incoming(image, "download"))) await once(watcher, "change");
    watcher.close();
    await agent.kill();
    server.serve("/image", { bytes: good });
    expect((await finish(image)).equals(good)).toBe(true);
    expect(server.requests.map(({ range }) => range)).toEqual([undefined, undefined]);
  });

  test("is fetched in one piece when the parts do not fit together", async () => {
    const other = goodQcow2();
    const image = imageAt(server.url("/image"), { checksum: sha256(other) });
    // The tables of both images, which are alike, end at 327,680.
    expect(good.subarray(0, 400_000).equals(other.subarray(0, 400_000))).toBe(false);
    server.serve("/image", { bytes: good, etag: '"one"', holdAfter: 600_000 });
    await killAfter(image, 400_000);
    server.serve("/image", { bytes: other, etag: '"one"' });
    expect((await finish(image)).equals(other)).toBe(true);
    expect(server.requests.map(({ range }) => range !== undefined)).toEqual([false, true, false]);
  });

  test.each([
    ["whose record was cut", (image: AllocatedImage) => truncateSync(incoming(image, "download.json"), 5)],
    ["whose bytes were cut", (image: AllocatedImage) => truncateSync(incoming(image, "download"), 5)],
    ["whose bytes are gone", (image: AllocatedImage) => rmSync(incoming(image, "download"))],
    [
      "of another URL",
      (image: AllocatedImage) =>
        writeFileSync(
          incoming(image, "download.json"),
          JSON.stringify({ url: "http://other/", validator: '"one"', durableBytes: 300_000 }),
        ),
    ],
  ])("%s is begun anew", async (_sentence, spoil) => {
    const image = imageAt(server.url("/image"), { checksum: sha256(good) });
    server.serve("/image", { bytes: good, etag: '"one"', holdAfter: 500_000 });
    await killAfter(image, 300_000);
    spoil(image);
    server.serve("/image", { bytes: good, etag: '"one"' });
    expect((await finish(image)).equals(good)).toBe(true);
    expect(server.requests[1]?.range).toBeUndefined();
  });

  test("that nobody needs any more is removed by the next one", async () => {
    const image = imageAt(server.url("/image"));
    server.serve("/image", { bytes: good, etag: '"one"', holdAfter: 500_000 });
    await killAfter(image, 300_000);
    const disks = await openDisks(stateDirectory);
    await disks.evict(new Set([image.uid]), { signal });
    expect(existsSync(incoming(image, "download"))).toBe(true);
    await disks.evict(new Set(), { signal });
    expect(listing(stateDirectory)).toEqual(["images", "images/.incoming", "images/.removed"]);
    await disks.close();
  });
});

describe("a download that was broken off", () => {
  test("is gone on with by the same agent, and asked for only when its time has come", async () => {
    const image = imageAt(server.url("/image"));
    server.serve("/image", { bytes: good, etag: '"one"', cutAfter: 500_000 });
    let now = Date.now();
    const disks = await openDisks(stateDirectory, { now: () => new Date(now) });
    const failed = await settle(disks, diskOn(image));
    if (failed.kind !== "failed") throw new Error(JSON.stringify(failed));
    expect(failed.reason).toBe("FetchFailed");
    server.serve("/image", { bytes: good, etag: '"one"' });
    expect(await settle(disks, diskOn(image))).toEqual(expect.objectContaining({ kind: "failed" }));
    expect(server.requests).toHaveLength(1);
    now += failed.retryAfterMs;
    expect(await settle(disks, diskOn(image))).toEqual(expect.objectContaining({ kind: "ready" }));
    expect(server.requests[1]?.range).toMatch(/^bytes=[1-9]\d+-$/);
    await disks.close();
  });

  test("by closing stays for the next agent", async () => {
    const image = imageAt(server.url("/image"));
    server.serve("/image", { bytes: good, etag: '"one"', holdAfter: 500_000 });
    const disks = await openDisks(stateDirectory);
    await disks.ensureRootDisk(diskOn(image), { signal });
    await checkpoint(image, 300_000);
    await disks.close();
    server.serve("/image", { bytes: good, etag: '"one"' });
    expect((await finish(image)).equals(good)).toBe(true);
    expect(server.requests[1]?.range).toMatch(/^bytes=[1-9]\d+-$/);
  });
});

test("a download that was complete when the agent was killed is not asked for again", async () => {
  const image = imageAt(server.url("/image"));
  server.serve("/image", { bytes: good, etag: '"one"' });
  const disks = await openDisks(stateDirectory, {
    run: (file, args, options) => {
      expect([file, args.includes("qemu-img")]).toEqual(["prlimit", true]);
      return new Promise((_, reject) =>
        options.signal.addEventListener("abort", () => reject(new Error("killed"))),
      );
    },
  });
  await disks.ensureRootDisk(diskOn(image), { signal });
  await checkpoint(image, good.length);
  await disks.close();
  expect((await finish(image)).equals(good)).toBe(true);
  expect(server.requests).toHaveLength(1);
});

/** Numbers from 0 to 1 that a seed reproduces (mulberry32). */
const randomFrom = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

/** Changes of files that an agent makes on its way from nothing to a disk. */
const CHANGES_ON_THE_WAY = 60;

test("agents that are killed at any moment leave nothing behind that the last one does not make good", async () => {
  const seed = Date.now() % 100_000;
  const random = randomFrom(seed);
  const packed = gzipSync(good);
  server.serve("/image", { bytes: packed, etag: '"one"' });
  const want = diskOn(imageAt(server.url("/image"), { compression: "Gzip", checksum: sha256(packed) }));
  for (let round = 0; round < 8; round += 1) {
    const watcher = watch(stateDirectory, { recursive: true });
    const agent = startAgent(want);
    let changesLeft = Math.floor(random() * CHANGES_ON_THE_WAY);
    const enough = Promise.withResolvers<void>();
    watcher.on("change", () => {
      changesLeft -= 1;
      if (changesLeft < 0) enough.resolve();
    });
    await Promise.race([enough.promise, agent.ended]);
    await agent.kill();
    watcher.close();
  }
  const disks = await openDisks(stateDirectory);
  const { path, backing } = await ready(disks, want);
  await disks.close();
  const left = { seed, files: listing(stateDirectory), image: readFileSync(backing.path).equals(good) };
  const disk = `disks/${want.vmUid}`;
  const image = `images/${want.image.uid}`;
  const files = [
    disk,
    `${disk}/base.qcow2`,
    `${disk}/disk.json`,
    image,
    `${image}/disk.qcow2`,
    `${image}/image.json`,
  ];
  const rooms = ["disks", "images", "images/.incoming", "images/.removed"];
  expect(left).toEqual({ seed, files: [...files, ...rooms].sort(), image: true });
  expect(informationOf(path)).toMatchObject({ format: "qcow2", "backing-filename": backing.path });
});
