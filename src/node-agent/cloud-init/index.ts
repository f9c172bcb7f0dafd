import type { CloudInitOptions, Seed } from "./types.ts";

/** The seed images that tell guests who they are. All verbs are idempotent. */
export interface CloudInit {
  /** Makes the machine's NoCloud seed; leaves the file alone when it already says the same. */
  ensureSeed(want: Seed, options: CloudInitOptions): Promise<{ readonly path: string }>;
  /** Deletes the machine's seed, and what is half-made of it. No-op when there is none. */
  remove(vmUid: string, options: CloudInitOptions): Promise<void>;
  /** UIDs of the machines that have anything here, finished or not. */
  list(options: CloudInitOptions): Promise<readonly string[]>;
}
