import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { z } from "zod";

import { identityOf, isAlive } from "./process-table.ts";

const PREFIX = "vireo-";
const OWNER_FILE = ".owner.json";

const ownerSchema = z.object({ pid: z.int(), startTicks: z.string(), bootId: z.string() });

/** Makes a directory for as long as this process lives; see removeAbandonedDirectories. */
export const makeTemporaryDirectory = async (purpose: string): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), `${PREFIX}${purpose}-`));
  await writeFile(join(directory, OWNER_FILE), JSON.stringify(identityOf(process.pid)));
  return directory;
};

const ownerIsDead = async (directory: string): Promise<boolean> => {
  try {
    const owner = ownerSchema.parse(JSON.parse(await readFile(join(directory, OWNER_FILE), "utf8")));
    return !isAlive(owner);
  } catch {
    // Not one of ours, or its owner is just about to write the file.
    return false;
  }
};

/**
 * Removes the directories of testbeds whose process was killed before it could
 * clean up. Their processes, mounts and network namespaces have ended with it
 * (see daemon.ts), so that files are all that can be left.
 */
export const removeAbandonedDirectories = async (): Promise<void> => {
  for (const name of await readdir(tmpdir())) {
    const directory = join(tmpdir(), name);
    if (name.startsWith(PREFIX) && (await ownerIsDead(directory))) {
      await rm(directory, { recursive: true, force: true });
    }
  }
};
