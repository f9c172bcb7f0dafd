import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import { z } from "zod";

import { buildOnce } from "../cache.ts";
import { printProgress, secondsSince } from "../progress.ts";
import { buildDebian } from "./debian.ts";
import { buildTiny } from "./tiny.ts";

/** A disk image that guests of the tests and of the demo boot from, made of Debian packages. */
export interface GuestImage {
  /** A qcow2 file without a backing file. */
  readonly path: string;
  readonly format: "qcow2";
  /** Hexadecimal SHA-256 of the file. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/**
 * "tiny": boots in seconds, ssh and sftp as root, httpd on port 80, an echo service on
 * port 7777, the serial console says "vireo-guest ready" with its addresses,
 * uptime and boot id. "debian": Debian 12 with cloud-init, openssh and the
 * QEMU guest agent, ssh as user debian.
 */
export type GuestImageKind = "tiny" | "debian";

interface Recipe {
  readonly build: (workDirectory: string, output: string) => Promise<void>;
  /** Files and folders beside this one that decide what comes out. */
  readonly sources: readonly string[];
  /** What a person is told to expect. */
  readonly duration: string;
}

const COMMON_SOURCES = ["disk.ts", "boot-loader.ts", "debian-packages.ts"];

const RECIPES: Readonly<Record<GuestImageKind, Recipe>> = {
  tiny: { build: buildTiny, sources: ["tiny.ts", "tiny"], duration: "about 20 s" },
  debian: { build: buildDebian, sources: ["debian.ts"], duration: "two to four minutes" },
};

const IMAGE_FILE = "disk.qcow2";
const SUMMARY_FILE = "summary.json";
const summarySchema = z.object({ sha256: z.string(), sizeBytes: z.int() });

const filesBelow = async (path: string): Promise<readonly string[]> => {
  if (!(await stat(path)).isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
};

const recipeHash = async (recipe: Recipe): Promise<string> => {
  const hash = createHash("sha256");
  for (const source of [...COMMON_SOURCES, ...recipe.sources]) {
    for (const file of await filesBelow(join(import.meta.dirname, source))) hash.update(await readFile(file));
  }
  return hash.digest("hex").slice(0, 16);
};

const sha256Of = async (file: string): Promise<string> => {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
};

const build = async (kind: GuestImageKind, directory: string): Promise<void> => {
  const recipe = RECIPES[kind];
  const startedAt = Date.now();
  printProgress(`building the guest image ${kind} of Debian packages (${recipe.duration})`);
  const output = join(directory, IMAGE_FILE);
  const workDirectory = join(directory, "work");
  await mkdir(workDirectory);
  await recipe.build(workDirectory, output);
  await rm(workDirectory, { recursive: true, force: true });
  // Testbeds link to it: nobody is to write to it.
  await chmod(output, 0o444);
  const { size } = await stat(output);
  const summary = { sha256: await sha256Of(output), sizeBytes: size };
  await writeFile(join(directory, SUMMARY_FILE), JSON.stringify(summary));
  printProgress(`built the guest image ${kind} (${Math.round(size / 1e6)} MB) in ${secondsSince(startedAt)}`);
};

/** Resolves with a guest image, building it into the cache when it is not there. Needs root. */
export const ensureGuestImage = async (kind: GuestImageKind): Promise<GuestImage> => {
  const name = `guest-image-${kind}-${await recipeHash(RECIPES[kind])}`;
  const directory = await buildOnce(name, (temporary) => build(kind, temporary));
  const summary = summarySchema.parse(JSON.parse(await readFile(join(directory, SUMMARY_FILE), "utf8")));
  return { path: join(directory, IMAGE_FILE), format: "qcow2", ...summary };
};
