import { execFileSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDisks, type Disks, type DisksSettings } from "../../../src/node-agent/disks/index.ts";
import type {
  AllocatedImage,
  CachedImage,
  DiskOptions,
  ImageOutcome,
} from "../../../src/node-agent/disks/types.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import { createVolumes, type Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { DiskRef, LayerFile, Unfinished } from "../../../src/node-agent/volumes/types.ts";

const MiB = 2 ** 20;
export const signal = new AbortController().signal;

/** A directory that QEMU's unprivileged process can pass through, as /var/lib/vireo is. */
export const makeDirectory = (): string => {
  const path = mkdtempSync(join(tmpdir(), "vireo-disks-"));
  chmodSync(path, 0o711);
  return path;
};

/** Limits that a test can reach, and no space kept free. */
export const smallLimits = {
  maxVirtualSizeBytes: 256 * MiB,
  maxFileBytes: 32 * MiB,
  cacheBytes: 1024 * MiB,
  reservedBytes: 0,
  stallMs: 10_000,
  checkpointBytes: 128 * 1024,
} as const;

/** A root disk that a machine is to have, on an image. */
export interface RootDisk {
  readonly vmUid: string;
  readonly sizeMiB: number;
  readonly image: AllocatedImage;
}

export type RootDiskOutcome =
  | { readonly kind: "ready"; readonly path: string; readonly backing: LayerFile }
  | { readonly kind: "refused"; readonly reason: string; readonly message: string }
  | Unfinished
  | ImageOutcome;

/** Images, and machines' root disks on them: this room and that of the disks, together as the agent has them. */
export interface ImagesAndDisks extends Disks {
  readonly volumes: Volumes;
  ensureRootDisk(want: RootDisk, options: DiskOptions): Promise<RootDiskOutcome>;
  remove(vmUid: string, options: DiskOptions): Promise<void>;
}

const rootOf = (vmUid: string): DiskRef => ({ pool: "local", kind: "root", uid: vmUid });

/** The rooms on real files and programs, allowed to download from loopback unless told otherwise. */
export const openDisks = async (
  stateDirectory: string,
  change: Partial<DisksSettings> = {},
): Promise<ImagesAndDisks> => {
  const { importDirectory, run = runCommand } = change;
  const roots = [stateDirectory, ...(importDirectory === undefined ? [] : [importDirectory])];
  const files = change.files ?? createFiles({ roots });
  const logger = { info: () => {}, warn: () => {}, error: () => {} };
  const disks = await createDisks({
    stateDirectory,
    allowedDownloadNetworks: ["127.0.0.1/32"],
    nodeAddresses: () => [],
    logger,
    imagesOnDisks: () => volumes.imagesInUse(),
    ...change,
    run,
    files,
    limits: { ...smallLimits, ...change.limits },
  });
  const volumes = createVolumes({
    pools: [{ name: "local", path: stateDirectory, shared: false, wipe: "None" }],
    findImage: (imageUid) => disks.findImage(imageUid),
    run,
    files,
    logger,
  });
  return {
    ...disks,
    volumes,
    async ensureRootDisk({ vmUid, sizeMiB, image }, options) {
      const ref = rootOf(vmUid);
      const ensure = (cached: CachedImage) =>
        volumes.disks.ensure({ ref, sizeMiB, source: { kind: "image", image: cached } }, options);
      const used = await disks.useImage(image, ensure, options);
      if (used.kind !== "done") return used;
      if (used.result.kind !== "ready") return used.result;
      const { path, backing } = used.result.chain;
      const [lowest] = backing;
      if (lowest === undefined) throw new Error("a root disk stands on nothing");
      return { kind: "ready", path, backing: lowest };
    },
    async remove(vmUid, options) {
      await volumes.disks.remove(rootOf(vmUid), options);
    },
    async close() {
      await volumes.close();
      await disks.close();
    },
  };
};

export const imageAt = (url: string, change: Partial<AllocatedImage> = {}): AllocatedImage => ({
  name: "debian",
  uid: randomUUID(),
  format: "qcow2",
  compression: "None",
  url,
  ...change,
});

export const diskOn = (image: AllocatedImage, change: Partial<RootDisk> = {}): RootDisk => ({
  vmUid: randomUUID(),
  sizeMiB: 128,
  image,
  ...change,
});

/** Asks again at each announced change, as the agent does, until the image is no longer on its way. */
export const settle = async (disks: ImagesAndDisks, want: RootDisk): Promise<RootDiskOutcome> => {
  for (;;) {
    const changed = Promise.withResolvers<void>();
    const stop = disks.onImageChange(() => changed.resolve());
    try {
      const outcome = await disks.ensureRootDisk(want, { signal });
      if (outcome.kind !== "fetching") return outcome;
      await changed.promise;
    } finally {
      stop();
    }
  }
};

/** The outcome of a disk that must become ready. */
export const ready = async (disks: ImagesAndDisks, want: RootDisk) => {
  const outcome = await settle(disks, want);
  if (outcome.kind !== "ready") throw new Error(`the disk is not ready: ${JSON.stringify(outcome)}`);
  return outcome;
};

/** What qemu-img says of a file, opened as qcow2. */
export const informationOf = (path: string): Readonly<Record<string, unknown>> =>
  JSON.parse(execFileSync("qemu-img", ["info", "-f", "qcow2", "--output=json", path], { encoding: "utf8" }));

/** Everything below a directory, as relative paths. */
export const listing = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();

export const sha256 = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Runs a program in a scratch directory and returns the file that it made there. */
export const made = (file: string, ...commands: readonly (readonly [string, ...string[]])[]): Buffer => {
  const directory = makeDirectory();
  try {
    mkdirSync(join(directory, "work"));
    for (const [program, ...args] of commands) execFileSync(program, args, { cwd: directory, stdio: "pipe" });
    return readFileSync(join(directory, file));
  } finally {
    rmSync(directory, { recursive: true });
  }
};

/** A qcow2 image of 16 MiB with some data in it. */
export const goodQcow2 = (): Buffer =>
  made(
    "image.qcow2",
    ["dd", "if=/dev/urandom", "of=data", "bs=64K", "count=16"],
    ["truncate", "-s", "16M", "data"],
    ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "data", "image.qcow2"],
  );
