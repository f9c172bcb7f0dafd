import { join } from "node:path";
import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { isUid, uidPath } from "../host/paths.ts";
import { buildSeed, readSeedMark } from "./driver.ts";
import { renderSeed, seedDigest } from "./render.ts";
import type { CloudInitOptions, Seed, SeedImage } from "./types.ts";

/** The seed images that tell guests who they are. All verbs are idempotent. */
export interface CloudInit {
  /** Makes the machine's NoCloud seed; leaves the file alone when it already says the same. */
  ensureSeed(want: Seed, options: CloudInitOptions): Promise<SeedImage>;
  /** The machine's seed; undefined when there is none, or none that is whole. */
  find(vmUid: string, options: CloudInitOptions): Promise<SeedImage | undefined>;
  /** Deletes the machine's seed, and what is half-made of it. No-op when there is none. */
  remove(vmUid: string, options: CloudInitOptions): Promise<void>;
  /** UIDs of the machines that have anything here, finished or not. */
  list(options: CloudInitOptions): Promise<readonly string[]>;
}

export interface CloudInitSettings {
  /** The agent's state directory; seeds are kept in `seeds` below it. */
  readonly stateDirectory: string;
  readonly run: RunCommand;
  readonly files: Files;
}

/** QEMU's user must reach the image, and has no need to list what else there is. */
const TRAVERSE_ONLY = { mode: 0o711 } as const;

export const createCloudInit = ({ stateDirectory, run, files }: CloudInitSettings): CloudInit => {
  const seeds = join(stateDirectory, "seeds");
  return {
    async ensureSeed(want, { signal }) {
      signal.throwIfAborted();
      const path = uidPath(seeds, want.vmUid, "seed.iso");
      const documents = renderSeed(want);
      const digest = seedDigest(documents);
      if ((await readSeedMark(files, path)) === digest) return { path };
      await files.ensureDirectory(seeds, TRAVERSE_ONLY);
      await files.ensureDirectory(uidPath(seeds, want.vmUid), TRAVERSE_ONLY);
      const workDirectory = uidPath(seeds, want.vmUid, "new");
      await buildSeed({ run, files }, { path, workDirectory, documents, digest, signal });
      return { path };
    },

    async find(vmUid, { signal }) {
      signal.throwIfAborted();
      const path = uidPath(seeds, vmUid, "seed.iso");
      return (await readSeedMark(files, path)) === undefined ? undefined : { path };
    },

    async remove(vmUid, { signal }) {
      signal.throwIfAborted();
      await files.remove(uidPath(seeds, vmUid));
    },

    async list({ signal }) {
      signal.throwIfAborted();
      return (await files.list(seeds)).filter(isUid);
    },
  };
};
