import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WipePolicy } from "../../../src/api/storage-pool.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import { createVolumes, type Volumes, type VolumesSettings } from "../../../src/node-agent/volumes/index.ts";
import type {
  CachedImage,
  DesiredDisk,
  DiskChain,
  DiskRef,
  MergeOutcome,
  Unfinished,
} from "../../../src/node-agent/volumes/types.ts";

export const signal = new AbortController().signal;
export const options = { signal } as const;

/** A node's storage: the pool "local", another one, and an image. */
export interface Storage {
  readonly directory: string;
  readonly local: string;
  readonly fast: string;
  readonly image: CachedImage;
}

/** 16 MiB, of which the first holds 0x11 and the second 0x12. */
export const makeStorage = (): Storage => {
  const directory = mkdtempSync(join(tmpdir(), "vireo-volumes-"));
  chmodSync(directory, 0o711);
  const [local, fast, cache] = ["local", "fast", "cache"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [local, fast, cache]) mkdirSync(path);
  const path = join(cache, "image.qcow2");
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", path, "16M"]);
  qemuIo(path, "write -P 0x11 0 1M", "write -P 0x12 1M 1M");
  const image: CachedImage = {
    uid: randomUUID(),
    checksum: `sha256:${"0".repeat(64)}`,
    path,
    format: "qcow2",
    virtualSizeBytes: 16 * 2 ** 20,
  };
  return { directory, local, fast, image };
};

export const openVolumes = (
  { directory, local, fast, image }: Storage,
  change: Partial<VolumesSettings> & { readonly wipe?: WipePolicy } = {},
): Volumes =>
  createVolumes({
    pools: [
      { name: "local", path: local, shared: false, wipe: change.wipe ?? "None" },
      { name: "fast", path: fast, shared: true, wipe: change.wipe ?? "None" },
    ],
    run: runCommand,
    files: createFiles({ roots: [directory] }),
    logger: { info: () => {}, warn: () => {} },
    findImage: async (uid) => (uid === image.uid ? image : undefined),
    ...change,
  });

export const newRoot = (pool = "local"): DiskRef => ({ pool, kind: "root", uid: randomUUID() });
export const newVolume = (pool = "local"): DiskRef => ({ pool, kind: "volume", uid: randomUUID() });

const runQemuIo = (path: string, flags: readonly string[], commands: readonly string[]): void => {
  const args = [...flags, "-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), path];
  const output = execFileSync("qemu-io", args, { encoding: "utf8", stdio: "pipe" });
  if (/failed|error/i.test(output)) throw new Error(`${path}: ${output}`);
};

/** Runs commands of qemu-io on a qcow2 file and what is under it. */
export const qemuIo = (path: string, ...commands: readonly string[]): void => runQemuIo(path, [], commands);

/** "0x11 0 1M": throws unless that pattern is there. */
export const expectPatterns = (path: string, ...patterns: readonly string[]): void =>
  runQemuIo(
    path,
    ["-r"],
    patterns.map((pattern) => `read -P ${pattern}`),
  );

/** What qemu-img says of a file, opened as qcow2. */
export const informationOf = (path: string): Readonly<Record<string, unknown>> =>
  JSON.parse(execFileSync("qemu-img", ["info", "-f", "qcow2", "--output=json", path], { encoding: "utf8" }));

/** Throws unless the file is sound. */
export const expectSound = (path: string): void => {
  execFileSync("qemu-img", ["check", "-q", "-f", "qcow2", path], { stdio: "pipe" });
};

export const listing = (directory: string): string[] => readdirSync(directory).sort();

/** Asks again at each change, as the agent does, until nothing is under way. */
export const settled = async <T extends { readonly kind: string }>(
  volumes: Volumes,
  ask: () => Promise<T | Unfinished>,
): Promise<Exclude<T | Unfinished, { readonly kind: "working" }>> => {
  for (;;) {
    const changed = Promise.withResolvers<void>();
    const stop = volumes.onChange(() => changed.resolve());
    try {
      const outcome = await ask();
      if (outcome.kind !== "working") return outcome as Exclude<T | Unfinished, { readonly kind: "working" }>;
      await changed.promise;
    } finally {
      stop();
    }
  }
};

/** A disk that must become ready. */
export const ready = async (volumes: Volumes, want: DesiredDisk): Promise<DiskChain> => {
  const outcome = await settled(volumes, () => volumes.disks.ensure(want, options));
  if (outcome.kind !== "ready") throw new Error(`the disk is not ready: ${JSON.stringify(outcome)}`);
  return outcome.chain;
};

export const onImage = ({ image }: Storage, ref: DiskRef, sizeMiB = 32): DesiredDisk => ({
  ref,
  sizeMiB,
  source: { kind: "image", image },
});

export const blank = (ref: DiskRef, sizeMiB = 32): DesiredDisk => ({
  ref,
  sizeMiB,
  source: { kind: "blank" },
});

/** A snapshot of a machine that is off. */
export const takeSnapshot = async (
  volumes: Volumes,
  disks: readonly DiskRef[],
  snapshotUid: string = randomUUID(),
): Promise<string> => {
  await volumes.snapshots.prepare({ snapshotUid, disks, withMemory: false }, options);
  await volumes.snapshots.commit(snapshotUid, disks, options);
  return snapshotUid;
};

/** The path of the disk that a guest would write. */
export const headOf = async (volumes: Volumes, ref: DiskRef): Promise<string> => {
  const chain = await volumes.disks.find(ref, options);
  if (chain === undefined) throw new Error(`no disk ${ref.uid}`);
  return chain.path;
};

export const advance = (
  volumes: Volumes,
  ref: DiskRef,
  isRunning = false,
): Promise<Exclude<MergeOutcome, { readonly kind: "working" }>> =>
  settled(volumes, () => volumes.merges.advance(ref, { isRunning }, options));
