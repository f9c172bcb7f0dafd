import { createHash, randomUUID } from "node:crypto";
import { readFile, stat } from "node:fs/promises";

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import type {
  DiskLayer,
  DiskLayers,
  Domain,
  DomainDisk,
  MergeRequest,
} from "../../../src/node-agent/domains/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import type { GuestShell } from "./guest-shell.ts";
import { type RealHost, startReal } from "./hosts.ts";

const signal = new AbortController().signal;
/** An emulated guest on a busy machine takes its time. */
const PATIENCE_MS = 180_000;
const MERGE_PATIENCE_MS = 60_000;

const MARKER_BYTES = 8;

describe("the disks of a running guest", () => {
  let host: RealHost;
  let want: Domain;
  let volume: DomainDisk;
  let shell: GuestShell;
  let imageBefore: string;

  const sha256 = async (path: string): Promise<string> =>
    createHash("sha256")
      .update(await readFile(path))
      .digest("hex");
  const image = (): DiskLayer => {
    const below = want.rootDisk.layers.at(-1);
    if (below?.shared !== true) throw new Error("the root disk stands on no image");
    return below;
  };
  const openShell = async (): Promise<void> => {
    shell = await host.openShell(want.vmUid);
  };
  const leave = async (): Promise<void> => shell[Symbol.asyncDispose]();
  const layersOf = async (uid: string): Promise<readonly string[]> => {
    const seen = await host.domains.observe(want.vmUid, { signal });
    const disk = seen?.hardware?.disks.find((each) => each.uid === uid);
    if (disk === undefined) throw new Error(`no disk ${uid} in ${JSON.stringify(seen)}`);
    return disk.layers;
  };
  const memoryMiB = async (): Promise<number | undefined> =>
    (await host.domains.observe(want.vmUid, { signal }))?.hardware?.memory.currentMiB;
  /** A mark at the start of the volume, past all caches of the guest. */
  const write = (text: string): Promise<string> =>
    shell.run(`printf %-${MARKER_BYTES}s ${text} | dd of=/dev/vdb conv=fsync 2>/dev/null`);
  const read = async (): Promise<string> =>
    shell.run(`echo 3 >/proc/sys/vm/drop_caches; head -c ${MARKER_BYTES} /dev/vdb`);
  const overlaysOn = async (heads: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> => {
    const overlays = new Map<string, string>();
    for (const [uid, backing] of heads) {
      overlays.set(uid, await host.createDisk(`${randomUUID()}.qcow2`, { backing }));
    }
    return overlays;
  };
  const heads = async (): Promise<ReadonlyMap<string, string>> => {
    const found = new Map<string, string>();
    for (const uid of [want.vmUid, volume.uid]) found.set(uid, (await layersOf(uid))[0] ?? "");
    return found;
  };
  const snapshot = async (): Promise<void> => {
    const request = { overlays: await overlaysOn(await heads()), quiesce: "Never" as const };
    expect(await host.live.snapshot(want.vmUid, request, { signal })).toEqual({
      kind: "taken",
      consistency: "Online",
    });
  };
  const qcow2 = (path: string): DiskLayer => ({ path, format: "qcow2" });
  /** The machine on new heads, each on the head that was frozen. */
  const onto = async (frozen: ReadonlyMap<string, string>): Promise<Domain> => {
    const overlays = await overlaysOn(frozen);
    const chain = (uid: string, layers: DiskLayers): DiskLayers => {
      const at = layers.findIndex(({ path }) => path === frozen.get(uid));
      return [qcow2(overlays.get(uid) ?? ""), ...layers.slice(Math.max(at, 0))];
    };
    return {
      ...want,
      rootDisk: { layers: chain(want.vmUid, want.rootDisk.layers) },
      volumes: [{ ...volume, layers: chain(volume.uid, volume.layers) }],
    };
  };
  const merged = (request: MergeRequest): Promise<unknown> =>
    waitFor(
      `merge ${JSON.stringify(request)}`,
      async () => {
        const outcome = await host.live.merge(want.vmUid, request, { signal });
        if (outcome.kind === "done") return true;
        expect(outcome).toMatchObject({ kind: "running", progressPercent: expect.any(Number) });
        throw new Error(JSON.stringify(outcome));
      },
      { timeoutMs: MERGE_PATIENCE_MS, intervalMs: 20 },
    );

  beforeAll(async () => {
    host = await startReal();
    await host.libvirt.whenConnected({ signal });
  }, PATIENCE_MS);
  afterAll(() => host.stop(), PATIENCE_MS);

  beforeEach(async () => {
    const uid = randomUUID();
    const path = await host.createDisk(`${uid}.qcow2`, { sizeMiB: 64 });
    volume = { uid, name: "data", bus: "VirtIO", layers: [qcow2(path)] };
    want = await host.prepare(randomUUID(), { volumes: [volume], maxVcpus: 2, maxMemoryMiB: 256 });
    imageBefore = await sha256(image().path);
    await host.domains.start(want, { signal });
    await host.whenBooted(want.vmUid);
    await openShell();
  }, PATIENCE_MS);
  afterEach(async () => {
    await leave();
    await host.domains.remove(want.vmUid, { signal });
    if ((await sha256(image().path)) !== imageBefore || (await host.imageOwner()) !== 0) {
      throw new Error("the image that guests share has been written, or given to one of them");
    }
  }, PATIENCE_MS);

  test(
    "are frozen all at one moment, once, and the guest can go back to that moment",
    async () => {
      await write("one");
      const frozen = await heads();
      const overlays = await overlaysOn(frozen);
      const take = (quiesce: "IfPossible" | "Required") =>
        host.live.snapshot(want.vmUid, { overlays, quiesce }, { signal });
      expect(await take("Required")).toEqual({
        kind: "not-quiesced",
        message: expect.stringMatching(/agent/),
      });
      expect(await heads()).toEqual(frozen);
      expect(await take("IfPossible")).toEqual({
        kind: "taken",
        consistency: "Online",
        quiesceFailure: expect.stringMatching(/agent/),
      });
      expect(await heads()).toEqual(overlays);
      expect(await take("IfPossible")).toEqual({ kind: "already-taken" });
      expect(await layersOf(volume.uid)).toEqual([
        overlays.get(volume.uid),
        ...volume.layers.map(({ path }) => path),
      ]);
      await write("two");
      expect(await read()).toBe("two");
      await leave();
      await host.domains.destroy(want.vmUid, { signal });
      want = await onto(frozen);
      await host.domains.start(want, { signal });
      await host.whenBooted(want.vmUid, 2);
      await openShell();
      expect(await read()).toBe("one");
    },
    PATIENCE_MS,
  );

  test(
    "go back with the guest's memory, to the word that it was saying",
    async () => {
      await host.live.setVcpus(want.vmUid, 2, { signal });
      await shell.run("echo online >/sys/devices/system/memory/auto_online_blocks; modprobe virtio_mem");
      await host.live.setMemory(want.vmUid, 256, { signal });
      await waitFor("the guest has taken memory", async () => (await memoryMiB()) === 256);
      await write("then");
      await shell.run("echo then >/run/memory");
      const frozen = await heads();
      const memoryPath = `${host.stateDirectory}/${randomUUID()}.memory`;
      const request = { overlays: await overlaysOn(frozen), memoryPath, quiesce: "IfPossible" } as const;
      expect(await host.live.snapshot(want.vmUid, request, { signal })).toEqual({
        kind: "taken",
        consistency: "Online",
      });
      expect(await host.live.snapshot(want.vmUid, request, { signal })).toEqual({ kind: "already-taken" });
      expect((await stat(memoryPath)).mode & 0o077).toBe(0);
      await write("now");
      await shell.run("echo now >/run/memory");
      for (const paused of [false, true]) {
        await leave();
        await host.domains.destroy(want.vmUid, { signal });
        // What the machine was given meanwhile waits for its next start.
        want = { ...(await onto(frozen)), memoryMiB: 160 };
        for (let i = 0; i < 2; i += 1) {
          await host.domains.restore(want, { path: memoryPath, paused }, { signal });
        }
        const seen = await host.domains.observe(want.vmUid, { signal });
        expect(seen?.powerState).toBe(paused ? "Paused" : "Running");
        expect(seen?.hardware?.vcpus).toEqual({ current: 2, maximum: 2 });
        expect(seen?.hardware?.memory).toMatchObject({ initialMiB: 128, currentMiB: 256 });
        expect(await layersOf(volume.uid)).toEqual(want.volumes[0]?.layers.map(({ path }) => path));
        if (paused) await host.live.resume(want.vmUid, { signal });
        await openShell();
        expect(await shell.run("cat /run/memory")).toBe("then");
        expect(await read()).toBe("then");
        await write("now");
        await shell.run("echo now >/run/memory");
      }
      // And the definition is that of the next start.
      await leave();
      await host.domains.destroy(want.vmUid, { signal });
      await host.domains.start(want, { signal });
      const seen = await host.domains.observe(want.vmUid, { signal });
      expect(seen?.hardware?.memory.initialMiB).toBe(160);
      await host.whenBooted(want.vmUid, 2);
      await openShell();
    },
    PATIENCE_MS,
  );

  test(
    "become few again: layers are pulled up and pushed down while the guest writes",
    async () => {
      const content = async (): Promise<string> => shell.run("head -c 4000000 /dev/vdb | md5sum");
      for (const megabyte of [0, 1, 2]) {
        await shell.run(
          `dd if=/dev/urandom of=/dev/vdb bs=1M seek=${megabyte} count=2 conv=fsync 2>/dev/null`,
        );
        await snapshot();
      }
      await shell.run("dd if=/dev/urandom of=/dev/vdb bs=4k seek=100 count=1 conv=fsync 2>/dev/null");
      const before = await content();
      const [head = "", third = "", second = "", first = ""] = await layersOf(volume.uid);
      const commit = { diskUid: volume.uid, kind: "commit", top: third, base: second } as const;
      await merged(commit);
      expect(await layersOf(volume.uid)).toEqual([head, second, first]);
      await merged(commit);
      expect(await layersOf(volume.uid)).toEqual([head, second, first]);
      await host.killDaemon();
      await host.restartDaemon();
      await host.libvirt.whenConnected({ signal });
      expect(await layersOf(volume.uid)).toEqual([head, second, first]);
      await merged({ diskUid: volume.uid, kind: "pull", base: first });
      expect(await layersOf(volume.uid)).toEqual([head, first]);
      await merged({ diskUid: volume.uid, kind: "pull", base: undefined });
      expect(await layersOf(volume.uid)).toEqual([head]);
      expect(await content()).toBe(before);
      await shell.run("dd if=/dev/urandom of=/dev/vdb bs=4k seek=300 count=1 conv=fsync 2>/dev/null");
      const after = await content();
      const root = await layersOf(want.vmUid);
      await merged({ diskUid: want.vmUid, kind: "pull", base: image().path });
      expect(await layersOf(want.vmUid)).toEqual([root[0], image().path]);
      await host.live.cancelMerge(want.vmUid, volume.uid, { signal });
      expect(await content()).toBe(after);
      await leave();
      await host.domains.destroy(want.vmUid, { signal });
      want = {
        ...want,
        rootDisk: { layers: [qcow2(root[0] ?? ""), image()] },
        volumes: [{ ...volume, layers: [qcow2(head)] }],
      };
      await host.domains.start(want, { signal });
      await host.whenBooted(want.vmUid, 2);
      await openShell();
      expect(await content()).toBe(after);
    },
    PATIENCE_MS,
  );

  test(
    "are not merged where that would lose something, least of all into the image that guests share",
    async () => {
      await snapshot();
      const [rootHead = "", frozen = ""] = await layersOf(want.vmUid);
      const refused: readonly MergeRequest[] = [
        { diskUid: want.vmUid, kind: "commit", top: frozen, base: image().path },
        { diskUid: want.vmUid, kind: "commit", top: rootHead, base: frozen },
        { diskUid: want.vmUid, kind: "commit", top: frozen, base: rootHead },
        { diskUid: want.vmUid, kind: "commit", top: "/nowhere", base: "/elsewhere" },
        { diskUid: want.vmUid, kind: "pull", base: "/nowhere" },
        { diskUid: want.vmUid, kind: "pull", base: rootHead },
      ];
      for (const request of refused) {
        await expect(host.live.merge(want.vmUid, request, { signal })).rejects.toThrow(RangeError);
      }
      expect(await layersOf(want.vmUid)).toEqual([rootHead, frozen, image().path]);
    },
    PATIENCE_MS,
  );
});
