import { join } from "node:path";
import type { WipePolicy } from "../../api/storage-pool.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";

export interface WipeOptions {
  readonly files: Files;
  readonly run: RunCommand;
  readonly policy: WipePolicy;
  readonly signal: AbortSignal;
}

const zeros = Buffer.alloc(2 ** 20);
const DISCARD_MS = 3600 * 1000;
const OWNER_ONLY = { mode: 0o600 } as const;

const overwrite = async (path: string, sizeBytes: number, { files, signal }: WipeOptions): Promise<void> => {
  await using file = await files.openForWriting(path, OWNER_ONLY);
  for (let offset = 0; offset < sizeBytes; offset += zeros.length) {
    signal.throwIfAborted();
    await file.write(zeros.subarray(0, Math.min(zeros.length, sizeBytes - offset)), offset);
  }
  await file.sync();
};

/** Gives the blocks back to the file system, which gives them back to a device that it is mounted on with `discard`. */
const punch = async (path: string, sizeBytes: number, { run, signal }: WipeOptions): Promise<void> => {
  await run("fallocate", ["--punch-hole", "--offset", "0", "--length", String(sizeBytes), path], {
    signal,
    timeoutMs: DISCARD_MS,
  });
};

/** A file system without holes cannot discard; its blocks are overwritten instead. */
const cannotPunch = (error: unknown): boolean =>
  error instanceof CommandError && /not supported/i.test(error.stderr);

const wipe = async (path: string, sizeBytes: number, options: WipeOptions): Promise<void> => {
  if (options.policy === "Zero") return overwrite(path, sizeBytes, options);
  return punch(path, sizeBytes, options).catch(async (error: unknown) => {
    if (!cannotPunch(error)) throw error;
    await overwrite(path, sizeBytes, options);
  });
};

/**
 * Deletes a file, or a directory with all that is in it, as the pool's
 * administrator wants it. Killed in the middle, it is begun again by who finds
 * the file still there. No-op when it is gone.
 */
export const wipeAndDelete = async (path: string, options: WipeOptions): Promise<void> => {
  const { files, policy } = options;
  const found = policy === "None" ? undefined : await files.stat(path);
  if (found?.kind === "directory")
    for (const name of await files.list(path)) await wipeAndDelete(join(path, name), options);
  if (found?.kind === "file" && found.sizeBytes > 0) await wipe(path, found.sizeBytes, options);
  await files.remove(path);
};
