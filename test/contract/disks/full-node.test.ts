import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
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

const statfsBytes = (path: string): { readonly available: number } => {
  const text = execFileSync("stat", ["--file-system", "--format=%a %S", path], { encoding: "utf8" });
  const [blocks = 0, size = 0] = text.trim().split(" ").map(Number);
  return { available: blocks * size };
};

describe("a full node", () => {
  let mounted: string;
  beforeEach(() => {
    mounted = join(stateDirectory, "small");
    mkdirSync(mounted);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m,mode=711", "tmpfs", mounted]);
  });
  afterEach(() => void execFileSync("umount", [mounted]));

  test.each([
    ["is told before the download by a server that says how long it is", {}],
    ["is found out in the middle by one that does not", { hideLength: true }],
  ])("%s; nothing stays, and it goes on when there is room", async (_sentence, how) => {
    let now = Date.now();
    const room = await openDisks(mounted, { now: () => new Date(now) });
    const before = listing(mounted);
    writeFileSync(join(mounted, "filler"), Buffer.alloc(7.5 * 2 ** 20));
    server.serve("/image", { bytes: good, ...how });
    const want = diskOn(imageAt(server.url("/image")));
    const outcome = await settle(room, want);
    expect(outcome).toMatchObject({ kind: "failed", reason: "NoSpace", retryAfterMs: expect.any(Number) });
    rmSync(join(mounted, "filler"));
    expect(listing(mounted)).toEqual(before);
    now += 300_000;
    await ready(room, want);
    await room.close();
  });

  test("keeps what is reserved for its guests", async () => {
    const room = await openDisks(mounted, { limits: { reservedBytes: 7.5 * 2 ** 20 } });
    expect(await settle(room, diskOn(imageAt(server.url("/image"))))).toMatchObject({ reason: "NoSpace" });
    await room.close();
  });

  test("makes no overlay, says so, and frees what is not in use", async () => {
    const room = await openDisks(mounted);
    const image = imageAt(server.url("/image"));
    const other = diskOn(imageAt(server.url("/image")));
    const first = diskOn(image);
    await ready(room, first);
    await ready(room, other);
    await room.remove(other.vmUid, { signal });
    const used = statfsBytes(mounted);
    writeFileSync(join(mounted, "filler"), Buffer.alloc(used.available - 8192));
    const second = diskOn(image);
    expect(await settle(room, second)).toMatchObject({ kind: "failed", reason: "NoSpace" });
    await room.evict(new Set([image.uid]), { signal });
    expect(room.images()).toMatchObject([{ uid: image.uid }]);
    await ready(room, second);
    await room.close();
  });
});
