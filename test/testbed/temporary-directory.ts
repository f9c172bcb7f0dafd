import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { identityOf, isAlive, processIdentitySchema } from "./process-table.ts";

const PREFIX = "vireo-";
const OWNER_FILE = ".owner.json";

const ownerIsDead = async (directory: string): Promise<boolean> => {
  try {
    const owner = processIdentitySchema.parse(
      JSON.parse(await readFile(join(directory, OWNER_FILE), "utf8")),
    );
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
const removeAbandonedDirectories = async (): Promise<void> => {
  for (const name of await readdir(tmpdir())) {
    const directory = join(tmpdir(), name);
    if (!name.startsWith(PREFIX) || !(await ownerIsDead(directory))) continue;
    await rm(directory, { recursive: true, force: true });
  }
};

/**
 * Makes a directory below the system's temporary one, for as long as this
 * process lives; first removes those whose process was killed.
 */
export const makeTemporaryDirectory = async (purpose: string): Promise<string> => {
  await removeAbandonedDirectories();
  const directory = await mkdtemp(join(tmpdir(), `${PREFIX}${purpose}-`));
  await writeFile(join(directory, OWNER_FILE), JSON.stringify(identityOf(process.pid)));
  return directory;
};
