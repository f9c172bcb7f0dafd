import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import {
  diskOn,
  goodQcow2,
  imageAt,
  listing,
  makeDirectory,
  openDisks,
  ready,
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

describe("eviction", () => {
  test("removes the least recently used image, not one that a disk starts from", async () => {
    server.serve("/other", { bytes: goodQcow2() });
    const used = diskOn(imageAt(server.url("/image")));
    const unused = diskOn(imageAt(server.url("/other")));
    await ready(disks, used);
    await ready(disks, unused);
    await disks.remove(unused.vmUid, { signal });
    await disks.close();
    disks = await openDisks(stateDirectory, { limits: { cacheBytes: 0 } });
    await disks.evict(new Set([unused.image.uid]), { signal });
    expect(disks.images()).toHaveLength(2);
    await disks.evict(new Set(), { signal });
    expect(disks.images()).toMatchObject([{ uid: used.image.uid, state: "Ready" }]);
    expect(listing(join(stateDirectory, "images"))).not.toContain(unused.image.uid);
    await disks.remove(used.vmUid, { signal });
    await disks.evict(new Set(), { signal });
    expect(listing(stateDirectory)).toEqual(["disks", "images", "images/.incoming", "images/.removed"]);
  });

  test("goes by the last use, which outlives the agent", async () => {
    let now = Date.now();
    const wants = [diskOn(imageAt(server.url("/image"))), diskOn(imageAt(server.url("/image")))] as const;
    const agent = await openDisks(stateDirectory, { now: () => new Date(now) });
    for (const want of wants) await ready(agent, want);
    now += 3_600_000;
    await ready(agent, wants[0]);
    for (const { vmUid } of wants) await agent.remove(vmUid, { signal });
    const [image] = agent.images();
    await agent.close();
    const next = await openDisks(stateDirectory, { limits: { cacheBytes: image?.sizeBytes ?? 0 } });
    await next.evict(new Set(), { signal });
    expect(next.images()).toMatchObject([{ uid: wants[0].image.uid }]);
    await next.close();
  });

  test("of an image whose record was spoiled frees its space, and an agent that needs it fetches it again", async () => {
    const want = diskOn(imageAt(server.url("/image")));
    const { backing } = await ready(disks, want);
    const spoil = () => truncateSync(join(backing.path, "../image.json"), 3);
    spoil();
    const next = await openDisks(stateDirectory);
    expect(next.images()).toEqual([]);
    await ready(next, want);
    expect(server.requests).toHaveLength(2);
    await next.close();
    await disks.remove(want.vmUid, { signal });
    spoil();
    const last = await openDisks(stateDirectory);
    await last.evict(new Set(), { signal });
    expect(listing(join(stateDirectory, "images"))).toEqual([".incoming", ".removed"]);
    await last.close();
  });
});
