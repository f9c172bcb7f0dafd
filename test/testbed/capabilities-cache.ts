import { randomUUID } from "node:crypto";
import { cp, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { cacheDirectory, exists } from "./cache.ts";

/** Where libvirt keeps, below its cache directory, what it has found out about each QEMU binary. */
const CAPABILITIES = "qemu/capabilities";

const kept = (): string => join(cacheDirectory(), "libvirt-capabilities");

const isEmpty = async (directory: string): Promise<boolean> =>
  (await exists(directory)) ? (await readdir(directory)).length === 0 : true;

/**
 * Hands what one node's libvirt has found out about QEMU to the next node:
 * a first start with it takes 0.25 s in place of 5 s. libvirt itself checks
 * whether it still holds (versions, time stamps, kernel), and probes again when not.
 */
export const capabilitiesCache = {
  /** Fills the libvirt cache directory of a new node. */
  fill: async (libvirtCache: string): Promise<void> => {
    const target = join(libvirtCache, CAPABILITIES);
    if (!(await isEmpty(target)) || !(await exists(kept()))) return;
    await mkdir(target, { recursive: true });
    await cp(kept(), target, { recursive: true, preserveTimestamps: true });
  },

  /** Keeps what a node's libvirt has found out, unless it is kept already; `probe` makes libvirt look. */
  keep: async (libvirtCache: string, probe: () => Promise<unknown>): Promise<void> => {
    if (await exists(kept())) return;
    await probe();
    const temporary = `${kept()}.${randomUUID()}.tmp`;
    await cp(join(libvirtCache, CAPABILITIES), temporary, { recursive: true, preserveTimestamps: true });
    // Another node may have been first; its findings are as good as ours.
    await rename(temporary, kept()).catch(() => rm(temporary, { recursive: true, force: true }));
  },
};
