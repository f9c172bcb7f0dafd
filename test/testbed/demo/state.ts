import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import { z } from "zod";

import { exists } from "../cache.ts";

/** Where the demo lives: control plane, nodes with their guests' disks, logs. */
export const demoDirectory = (): string =>
  join(process.env["XDG_STATE_HOME"] ?? join(homedir(), ".local/state"), "vireo/demo");

const memorySchema = z.object({
  /** The context that was current before the demo's. */
  previousContext: z.string().optional(),
  /** Digest of the program that the processes run. */
  program: z.string().optional(),
});

/** What one command of the demo notes for the next. */
export type Memory = z.infer<typeof memorySchema>;

const memoryFile = (): string => join(demoDirectory(), "demo.json");

export const readMemory = async (): Promise<Memory> =>
  (await exists(memoryFile())) ? memorySchema.parse(JSON.parse(await readFile(memoryFile(), "utf8"))) : {};

export const writeMemory = async (memory: Memory): Promise<void> => {
  await mkdir(demoDirectory(), { recursive: true, mode: 0o700 });
  await writeFile(memoryFile(), JSON.stringify(memory));
};

/** Number of nodes that an earlier run has made. */
export const countNodes = async (): Promise<number> =>
  (await exists(demoDirectory()))
    ? (await readdir(demoDirectory())).filter((name) => /^node-\d+$/.test(name)).length
    : 0;
