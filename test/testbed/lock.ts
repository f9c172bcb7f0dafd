import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

import { programEnvironment } from "./programs.ts";

/** What testbeds of this machine share while it runs; only root may write there, and a reboot empties it. */
export const RUNTIME_DIRECTORY = "/run/vireo-testbed";

/**
 * Runs `action` while holding the lock `file`, which other processes wait for.
 *
 * The lock is flock(2) on the file, held by a child that lives as long as our
 * end of its pipe: however this process ends, the kernel releases the lock, so
 * a lock is never stale.
 */
export const withLock = async <T>(
  file: string,
  action: () => Promise<T>,
  onWait?: () => void,
): Promise<T> => {
  await mkdir(dirname(file), { recursive: true });
  const holder = spawn("flock", [file, "sh", "-c", "echo locked; cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: programEnvironment(),
  });
  const waiting = onWait === undefined ? undefined : setTimeout(onWait, 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once("error", reject);
      holder.once("exit", (code) => reject(new Error(`flock ${file} ended early with exit code ${code}`)));
      holder.stdout.once("data", () => resolve());
    });
    clearTimeout(waiting);
    return await action();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
  }
};
