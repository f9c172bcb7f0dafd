import { access, mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import { withLock } from "./lock.ts";
import { printProgress } from "./progress.ts";

/** Where things live that take minutes to build and can always be built again. */
export const cacheDirectory = (): string =>
  join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "vireo");

export const exists = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/**
 * Resolves with the cache's directory `name`, made by `build` when it is not
 * there yet. `build` fills a temporary directory that is renamed when
 * complete: half a build is never seen. Callers in other processes wait for
 * the one that builds.
 */
export const buildOnce = async (
  name: string,
  build: (directory: string) => Promise<void>,
): Promise<string> => {
  const complete = join(cacheDirectory(), name);
  if (await exists(complete)) return complete;
  const lock = join(cacheDirectory(), `${name}.lock`);
  await withLock(
    lock,
    async () => {
      if (await exists(complete)) return;
      // We hold the lock: what is there was left by a build that was killed.
      const temporary = `${complete}.tmp`;
      await rm(temporary, { recursive: true, force: true });
      await mkdir(temporary, { recursive: true });
      try {
        await build(temporary);
        await rename(temporary, complete);
      } finally {
        await rm(temporary, { recursive: true, force: true });
      }
    },
    () => printProgress(`waiting for another process that builds ${name}`),
  );
  return complete;
};
