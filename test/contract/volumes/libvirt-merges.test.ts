import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Domain } from "../../../src/node-agent/domains/index.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import { createVolumes, type Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { CachedImage, DiskRef, LiveMerge } from "../../../src/node-agent/volumes/types.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type RealHost, startReal } from "../domains/hosts.ts";
import { advance, expectPatterns, expectSound, listing, options, qemuIo, ready } from "./volumes-fixture.ts";

/** An emulated guest on a busy machine takes its time. */
const PATIENCE_MS = 180_000;

let host: RealHost;
let volumes: Volumes;
let want: Domain;
let root: DiskRef;

beforeAll(async () => {
  host = await startReal();
  await host.libvirt.whenConnected(options);
}, PATIENCE_MS);
afterAll(() => host.stop(), PATIENCE_MS);

const image = (): CachedImage => ({
  uid: "00000000-0000-4000-8000-000000000001",
  checksum: `sha256:${"0".repeat(64)}`,
  path: join(host.stateDirectory, "image.qcow2"),
  format: "qcow2",
  virtualSizeBytes: 64 * 2 ** 20,
});

const open = (): Volumes =>
  createVolumes({
    pools: [{ name: "local", path: host.stateDirectory, shared: false, wipe: "None" }],
    run: runCommand,
    files: createFiles({ roots: [host.stateDirectory] }),
    logger: { info: () => {}, warn: () => {} },
    findImage: async () => image(),
  });

/** Beyond what the tiny guest's file system uses. */
const DATA = "0x21 600M 4M";

beforeEach(async () => {
  volumes = open();
  const machine = await host.prepare(randomUUID());
  root = { pool: "local", kind: "root", uid: machine.vmUid };
  const disk = { ref: root, sizeMiB: 1024, source: { kind: "image", image: image() } } as const;
  const { path, backing } = await ready(volumes, disk);
  qemuIo(path, `write -P ${DATA}`);
  const below = backing.map((layer) => ({ path: layer.path, format: layer.format, shared: layer.isImage }));
  want = { ...machine, rootDisk: { layers: [{ path, format: "qcow2" }, ...below] } };
  await host.domains.start(want, options);
}, PATIENCE_MS);
afterEach(async () => {
  await host.domains.remove(want.vmUid, options);
  await volumes.close();
}, PATIENCE_MS);

const snapshotLive = async (): Promise<string> => {
  const snapshotUid = randomUUID();
  const prepared = await volumes.snapshots.prepare(
    { snapshotUid, disks: [root], withMemory: false },
    options,
  );
  const overlays = new Map(prepared.disks.map(({ ref, overlayPath }) => [ref.uid, overlayPath]));
  expect(await host.live.snapshot(want.vmUid, { overlays, quiesce: "Never" }, options)).toMatchObject({
    kind: "taken",
  });
  await volumes.snapshots.commit(snapshotUid, [root], options);
  return snapshotUid;
};

const carryOut = (merge: LiveMerge): Promise<unknown> => {
  const request =
    merge.kind === "pull"
      ? { kind: "pull" as const, diskUid: root.uid, base: merge.basePath }
      : { kind: "commit" as const, diskUid: root.uid, top: merge.topPath, base: merge.basePath };
  return waitFor("the block job", async () => {
    const { kind } = await host.live.merge(want.vmUid, request, options);
    if (kind !== "done") throw new Error(kind);
    return true;
  });
};

const mergeAll = async (): Promise<readonly string[]> => {
  const kinds: string[] = [];
  for (;;) {
    const outcome = await advance(volumes, root, true);
    if (outcome.kind === "clean") return kinds;
    if (outcome.kind !== "live") throw new Error(JSON.stringify(outcome));
    kinds.push(outcome.merge.kind);
    await carryOut(outcome.merge);
    await volumes.merges.confirm(root, options);
  }
};

const layers = (): string[] =>
  listing(join(host.stateDirectory, "disks", root.uid)).filter((name) => name.endsWith(".qcow2"));

describe("what libvirt has merged while a guest runs", () => {
  test(
    "is recognised from the files, a commit as well as a pull",
    async () => {
      const first = await snapshotLive();
      const second = await snapshotLive();
      const third = await snapshotLive();
      expect(layers()).toHaveLength(4);
      await volumes.snapshots.discard(first, [root], options);
      expect(await mergeAll()).toEqual(["commit"]);
      expect(layers()).toHaveLength(3);
      // Also by an agent that knows of nothing.
      await volumes.close();
      volumes = open();
      await volumes.snapshots.discard(third, [root], options);
      expect(await mergeAll()).toEqual(["pull"]);
      expect(layers()).toHaveLength(2);
      await volumes.snapshots.discard(second, [root], options);
      expect(await mergeAll()).toEqual(["pull"]);
      expect(layers()).toHaveLength(1);
      await host.domains.destroy(want.vmUid, options);
      const chain = await volumes.disks.find(root, options);
      expect(chain?.backing).toMatchObject([{ isImage: true }]);
      expectSound(chain?.path ?? "");
      expectPatterns(chain?.path ?? "", DATA);
    },
    PATIENCE_MS,
  );
});
