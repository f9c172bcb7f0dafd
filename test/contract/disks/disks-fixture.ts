import { execFileSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDisks, type Disks, type DisksSettings } from "../../../src/node-agent/disks/index.ts";
import type { AllocatedImage, RootDisk, RootDiskOutcome } from "../../../src/node-agent/disks/types.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";

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

/** The room on real files and programs, allowed to download from loopback unless told otherwise. */
export const openDisks = (stateDirectory: string, change: Partial<DisksSettings> = {}): Promise<Disks> => {
  const importDirectory = change.importDirectory;
  return createDisks({
    stateDirectory,
    allowedDownloadNetworks: ["127.0.0.1/32"],
    nodeAddresses: () => [],
    run: runCommand,
    files: createFiles({
      roots: [stateDirectory, ...(importDirectory === undefined ? [] : [importDirectory])],
    }),
    logger: { info: () => {}, warn: () => {}, error: () => {} },
    ...change,
    limits: { ...smallLimits, ...change.limits },
  });
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
export const settle = async (disks: Disks, want: RootDisk): Promise<RootDiskOutcome> => {
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
export const ready = async (disks: Disks, want: RootDisk) => {
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
