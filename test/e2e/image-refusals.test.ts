import { createHash } from "node:crypto";
import { readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { made } from "../contract/disks/disks-fixture.ts";
import { type ImageServer, startImageServer } from "../contract/disks/image-server.ts";
import { run } from "../testbed/programs.ts";
import { qcow2Bytes } from "../unit/node-agent/disks/qcow2-bytes.ts";
import { guestOf } from "./support/guest.ts";
import { guestLeftovers, expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, startStage, type Stage } from "./support/stage.ts";

const NODE = "node-1";
const NO_BOOT_MS = 120_000;
const BOOT_MS = 240_000;

let stage: Stage;
let server: ImageServer;
let tiny: Buffer;

beforeAll(async () => {
  stage = await startStage({
    nodes: 1,
    // The server is on the machine, which to the node is infrastructure like itself.
    agentFlags: (_name, { hostAddress }) => [`--allow-download-network=${hostAddress}/32`],
  });
  await stage.applyBasics();
  // A machine whose image is refused keeps its place; here are more of them than a node takes.
  const spec = { cpuOvercommitPercent: 10_000 };
  await stage.api.mergePatch(hypervisors, { name: NODE }, { spec }, { signal: AbortSignal.timeout(10_000) });
  server = await startImageServer(stage.testbed.underlay.hostAddress);
  tiny = await readFile(join(stage.testbed.importDirectory, "tiny.qcow2"));
}, 180_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await stage.stop();
}, 60_000);

/** Puts a file into the import directory, and resolves with the part of an Image's spec that names it. */
const offered = async (name: string, bytes: Buffer): Promise<object> => {
  await writeFile(join(stage.testbed.importDirectory, name), bytes);
  return { source: { file: name } };
};

const served = (path: string, what: Parameters<ImageServer["serve"]>[1]): object => {
  server.serve(path, what);
  return { source: { url: server.url(path) } };
};

const qemuImage = (...args: readonly string[]): Buffer => made("image", ["qemu-img", "create", ...args]);

interface BadImage {
  readonly name: string;
  readonly reason: string;
  /** What the Image's spec has beside its defaults. */
  readonly spec: () => Promise<object> | object;
}

const badImages: readonly BadImage[] = [
  {
    name: "backing-file",
    reason: "BackingFile",
    spec: () =>
      offered("backing", qemuImage("-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", "image", "1M")),
  },
  {
    name: "external-data-file",
    reason: "ExternalDataFile",
    spec: () =>
      offered("external", qemuImage("-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "image", "1M")),
  },
  {
    name: "wrong-checksum",
    reason: "ChecksumMismatch",
    spec: () => ({ ...served("/tiny", { bytes: tiny }), checksum: `sha256:${"0".repeat(64)}` }),
  },
  {
    name: "qcow2-declared-raw",
    reason: "FormatMismatch",
    spec: () => ({ source: { file: "tiny.qcow2" }, format: "raw" }),
  },
  {
    name: "raw-declared-qcow2",
    reason: "FormatMismatch",
    spec: () => offered("raw", Buffer.alloc(1_048_576, "not a header")),
  },
  {
    name: "truncated",
    reason: "Truncated",
    spec: () => offered("truncated", tiny.subarray(0, tiny.length / 2)),
  },
  {
    name: "unknown-feature",
    reason: "UnknownFeature",
    spec: () => offered("feature", qcow2Bytes({ incompatibleFeatures: 1n << 40n })),
  },
  {
    name: "bomb",
    reason: "TooLarge",
    spec: () => offered("bomb", qemuImage("-f", "qcow2", "image", "2T")),
  },
  {
    name: "no-gzip",
    reason: "DecompressionFailed",
    spec: async () => ({ ...(await offered("no-gzip", Buffer.alloc(4096, 7))), compression: "Gzip" }),
  },
  {
    name: "redirect-to-file",
    reason: "RedirectRefused",
    spec: () => served("/to-file", { location: "file:///etc/shadow" }),
  },
  {
    name: "redirect-to-metadata",
    reason: "AddressRefused",
    spec: () => served("/to-metadata", { location: "http://169.254.169.254/latest/meta-data" }),
  },
  {
    name: "loopback",
    reason: "AddressRefused",
    spec: () => ({ source: { url: "http://127.0.0.1:10250/image" } }),
  },
  { name: "not-there", reason: "NotFound", spec: () => served("/gone", { status: 404 }) },
  {
    name: "link-out-of-the-directory",
    reason: "NotFound",
    spec: async () => {
      await symlink("/etc/shadow", join(stage.testbed.importDirectory, "link"));
      return { source: { file: "link" } };
    },
  },
];

/** Files of the image cache, those of images that came to nothing included. */
const cached = (): Promise<readonly string[]> => readdir(imageDirectory(), { recursive: true });

const imageDirectory = (): string => join(stage.testbed.node(NODE).stateDirectory, "images");

/** Its guest need not be asked to end. */
const machineOf = (name: string, image: string) =>
  manifests.machine(name, { image, terminationGracePeriodSeconds: 0 });

/** Images, and for each a machine of the same name. */
const offer = async (specs: Readonly<Record<string, object>>): Promise<void> =>
  stage.apply(
    ...Object.entries(specs).flatMap(([name, spec]) => [manifests.image(name, spec), machineOf(name, name)]),
  );

describe("an image that is not what it should be", () => {
  let before: readonly string[];

  beforeAll(async () => {
    before = await cached();
    const specs = await Promise.all(badImages.map(async ({ name, spec }) => [name, await spec()] as const));
    await offer(Object.fromEntries(specs));
  }, NO_BOOT_MS);

  test.each(badImages)(
    "$name: the machine and the image say $reason, and that only another image helps",
    async ({ name, reason }) => {
      const machine = await stage.untilStatus(name, "Failed");
      for (const type of ["Ready", "StorageReady"]) {
        expect(conditionOf(machine, type)).toMatchObject({ status: "False", reason });
      }
      expect(conditionOf(machine, "Ready")?.message).toContain(name);
      expect(conditionOf(machine, "Stalled")).toMatchObject({ status: "True", reason });
      const image = await stage.until(images, name, (found) => !isReady(found));
      expect(conditionOf(image, "Ready")).toMatchObject({ status: "False", reason });
    },
    NO_BOOT_MS,
  );

  test("nothing half-made of any of them is on the node", async () => {
    expect(await guestLeftovers(stage.testbed, NODE)).toEqual([]);
    expect(await cached()).toEqual(before);
  });

  test(
    "the next machine that names it is told before it is placed",
    async () => {
      await stage.apply(manifests.machine("late", { image: "backing-file" }));
      const late = await stage.untilStatus("late", "Failed");
      expect(conditionOf(late, "ImageReady")).toMatchObject({ status: "False", reason: "BackingFile" });
      expect(late.status?.nodeName).toBeUndefined();
      await stage.deleteMachines("late", ...badImages.map(({ name }) => name));
    },
    NO_BOOT_MS,
  );
});

describe("a source that stalls", () => {
  test(
    "is given up for now with a reason, and the image is there when the source goes on",
    async () => {
      await offer({ stalling: served("/stalling", { bytes: tiny, holdAfter: 1_000_000 }) });
      const fetching = await stage.untilStatus("stalling", "Provisioning");
      expect(conditionOf(fetching, "Ready")?.status).toBe("False");
      const image = await stage.until(images, "stalling", (found) => !isReady(found));
      expect(conditionOf(image, "Ready")).toMatchObject({ status: "False", reason: "FetchFailed" });
      const machine = await stage.machine("stalling");
      expect(conditionOf(machine, "StorageReady")).toMatchObject({ status: "False", reason: "FetchFailed" });
      expect(conditionOf(machine, "Stalled")).toBeUndefined();
      expect(await guestLeftovers(stage.testbed, NODE)).toEqual([]);

      server.release();
      await stage.untilStatus("stalling", "Running");
      await stage.deleteMachines("stalling");
    },
    NO_BOOT_MS,
  );
});

describe("an image that is as it should be", () => {
  test(
    "is downloaded once for all machines of a node",
    async () => {
      const checksum = `sha256:${createHash("sha256").update(tiny).digest("hex")}`;
      const names = ["first", "second", "third"];
      await stage.apply(
        manifests.image("shared", { ...served("/shared", { bytes: tiny }), checksum }),
        ...names.map((name) => machineOf(name, "shared")),
      );
      for (const name of names) await stage.untilStatus(name, "Running");
      expect(server.requests.filter(({ path }) => path === "/shared")).toHaveLength(1);
      expect((await stage.until(images, "shared", isReady)).status?.nodes).toEqual([NODE]);
      await stage.deleteMachines(...names);
    },
    NO_BOOT_MS,
  );

  test(
    "is kept unpacked, byte for byte, whether it is raw or compressed, and boots",
    async () => {
      const directory = stage.testbed.importDirectory;
      const [qcow2, raw, xz] = [
        join(directory, "tiny.qcow2"),
        join(directory, "plain.raw"),
        join(directory, "tiny.xz"),
      ];
      await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", qcow2, raw]);
      await run("sh", ["-c", 'xz -1 --stdout "$0" >"$1"', qcow2, xz]);
      const specs: Readonly<Record<string, object>> = {
        raw: { source: { file: "plain.raw" }, format: "raw" },
        gzip: { ...(await offered("tiny.gz", gzipSync(tiny, { level: 1 }))), compression: "Gzip" },
        xz: { source: { file: "tiny.xz" }, compression: "Xz" },
        zstd: { ...served("/tiny.zst", { bytes: zstdCompressSync(tiny) }), compression: "Zstd" },
      };
      await offer(specs);
      for (const name of Object.keys(specs)) {
        await stage.untilStatus(name, "Running");
        const { metadata } = await stage.until(images, name, isReady);
        const [original, format] = name === "raw" ? [raw, "raw"] : [qcow2, "qcow2"];
        await run("cmp", [join(imageDirectory(), metadata.uid, `disk.${format}`), original]);
      }
      // One boots; the others would only take processors from it.
      await stage.deleteMachines("raw", "gzip", "xz");
      await (await guestOf(stage, "zstd")).untilBooted();
      await stage.deleteMachines("zstd");
      await expectLeftovers(stage.testbed, NODE);
    },
    BOOT_MS,
  );
});
