import { constants, type Stats } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { type OpenedFile, openedFile, type ReadableFile, type WritableFile } from "./opened-file.ts";

export type { ReadableFile, WritableFile } from "./opened-file.ts";

export type FileKind = "file" | "directory" | "symlink" | "other";

/** What the file system says of one name. Symbolic links are not followed. */
export interface FileStatus {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  /** Bytes on disk: less than `sizeBytes` for a file with holes. */
  readonly allocatedBytes: number;
  readonly modifiedAt: Date;
  /** Permission bits. */
  readonly mode: number;
}

export interface FileSystemStatus {
  readonly sizeBytes: number;
  /** Bytes that may still be written. */
  readonly availableBytes: number;
}

/** A path that leads, or could lead, to something else than it says. */
export class UnsafePathError extends Error {
  override readonly name = "UnsafePathError";
  readonly path: string;

  constructor(path: string, why: string) {
    super(`${path} ${why}: refusing to touch it`);
    this.path = path;
  }
}

/**
 * The host's files, as rooms may use them: below the given roots, and never
 * through a symbolic link. Calls are short and local, so they take no signal;
 * reading and writing content goes by pieces, between which a caller can stop.
 */
export interface Files {
  /** Makes the directory and those above it; sets the mode of the last one. */
  ensureDirectory(path: string, options: { readonly mode: number }): Promise<void>;
  /** Replaces the file as a whole: readers see the old or the new content, also after a power cut. */
  writeAtomically(
    path: string,
    content: string | Uint8Array,
    options: { readonly mode: number },
  ): Promise<void>;
  /** The whole text of a small file; undefined when there is none. Throws RangeError beyond `maxBytes`. */
  readText(path: string, options: { readonly maxBytes: number }): Promise<string | undefined>;
  /** Names in a directory, sorted; none when it does not exist. */
  list(path: string): Promise<readonly string[]>;
  /** Status of the name itself; undefined when there is none. */
  stat(path: string): Promise<FileStatus | undefined>;
  /** Space on the file system that holds the path. */
  space(path: string): Promise<FileSystemStatus>;
  /** Opens a regular file; undefined when there is none. Anything else than a regular file is an UnsafePathError. */
  openForReading(path: string): Promise<ReadableFile | undefined>;
  /** Opens a regular file for writing, and makes it when there is none. The content stays. */
  openForWriting(path: string, options: { readonly mode: number }): Promise<WritableFile>;
  /** Renames, replacing a file that has the new name, and makes that durable. */
  rename(from: string, to: string): Promise<void>;
  /** Sets the time of the last change: how "last used" survives this process. */
  touch(path: string, at: Date): Promise<void>;
  /** Removes a file or a whole tree; no-op when there is none. Links are removed, not followed. */
  remove(path: string): Promise<void>;
}

/** The code of a system error: "ENOENT", "ENOSPC", …; undefined for other errors. */
export const errorCode = (error: unknown): string | undefined =>
  typeof error === "object" && error !== null && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;

const absentAsUndefined = async <T>(work: Promise<T>): Promise<T | undefined> => {
  try {
    return await work;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
};

const kindOf = (stats: Stats): FileKind => {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  return stats.isSymbolicLink() ? "symlink" : "other";
};

const isWithin = (root: string, path: string): boolean => {
  const inside = relative(root, path);
  return inside === "" || (inside !== ".." && !inside.startsWith(`..${sep}`) && !isAbsolute(inside));
};

/** The directories from the root, exclusive, down to the path, inclusive. */
const stepsBelow = (root: string, path: string): string[] => {
  const names = relative(root, path).split(sep);
  return names.map((_, index) => resolve(root, ...names.slice(0, index + 1)));
};

const syncDirectory = async (path: string): Promise<void> => {
  const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

export interface FilesOptions {
  /** Absolute paths of the directories that may be touched. What is above them is the administrator's. */
  readonly roots: readonly string[];
}

/**
 * Every path is walked from its root on each call. Root owns the directories
 * below, so nobody can swap a component between the walk and the use; the last
 * component is opened with O_NOFOLLOW besides.
 */
export const createFiles = ({ roots }: FilesOptions): Files => {
  const rootOf = (path: string): string => {
    const root = roots.find((candidate) => isWithin(candidate, path));
    if (root === undefined || !isAbsolute(path) || resolve(path) !== path)
      throw new UnsafePathError(path, `is not a plain path below ${roots.join(" or ")}`);
    return root;
  };

  /** Throws when a directory on the way is not one. Directories that do not exist yet are fine. */
  const walk = async (path: string): Promise<void> => {
    const root = rootOf(path);
    if (path === root) return;
    for (const step of stepsBelow(root, path)) {
      const stats = await absentAsUndefined(fs.lstat(step));
      if (stats === undefined) return;
      if (!stats.isDirectory()) throw new UnsafePathError(step, "is not a directory");
    }
  };

  const walkToParent = (path: string): Promise<void> =>
    path === rootOf(path) ? Promise.resolve() : walk(dirname(path));

  const open = async (path: string, flags: number, mode?: number): Promise<OpenedFile> => {
    await walkToParent(path);
    // O_NONBLOCK: opening a FIFO must not wait for its other end.
    const safely = flags | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await fs.open(path, safely, mode).catch((error: unknown) => {
      if (errorCode(error) === "ELOOP") throw new UnsafePathError(path, "is a symbolic link");
      throw error;
    });
    const stats = await handle.stat();
    if (stats.isFile()) return openedFile(handle, stats.size);
    await handle.close();
    throw new UnsafePathError(path, "is not a regular file");
  };

  const openForWriting: Files["openForWriting"] = async (path, { mode }) => {
    const file = await open(path, constants.O_WRONLY | constants.O_CREAT, mode);
    await file.setMode(mode);
    return file;
  };

  const openForReading: Files["openForReading"] = (path) =>
    absentAsUndefined<ReadableFile>(open(path, constants.O_RDONLY));

  const rename: Files["rename"] = async (from, to) => {
    await walkToParent(from);
    await walkToParent(to);
    await fs.rename(from, to);
    await syncDirectory(dirname(to));
    if (dirname(from) !== dirname(to)) await syncDirectory(dirname(from));
  };

  return {
    openForReading,
    openForWriting,
    rename,

    async ensureDirectory(path, { mode }) {
      await walk(path);
      await fs.mkdir(path, { recursive: true, mode });
      // mkdir's mode is cut by the umask, and the directory may be from before.
      const { mode: present } = await fs.lstat(path);
      if ((present & 0o7777) !== mode) await fs.chmod(path, mode);
    },

    async writeAtomically(path, content, { mode }) {
      const temporary = `${path}.new`;
      await using file = await openForWriting(temporary, { mode });
      await file.truncate(0);
      await file.write(typeof content === "string" ? Buffer.from(content) : content, 0);
      await file.sync();
      await rename(temporary, path);
    },

    async readText(path, { maxBytes }) {
      await using file = await openForReading(path);
      if (file === undefined) return undefined;
      if (file.sizeBytes > maxBytes) throw new RangeError(`${path} has more than ${maxBytes} bytes`);
      return (await file.read(0, file.sizeBytes)).toString("utf8");
    },

    async list(path) {
      await walk(path);
      return ((await absentAsUndefined(fs.readdir(path))) ?? []).sort();
    },

    async stat(path) {
      await walkToParent(path);
      const stats = await absentAsUndefined(fs.lstat(path));
      return (
        stats && {
          kind: kindOf(stats),
          sizeBytes: stats.size,
          allocatedBytes: stats.blocks * 512,
          modifiedAt: stats.mtime,
          mode: stats.mode & 0o7777,
        }
      );
    },

    async space(path) {
      await walkToParent(path);
      const { blocks, bavail, bsize } = await fs.statfs(path);
      return { sizeBytes: blocks * bsize, availableBytes: bavail * bsize };
    },

    async touch(path, at) {
      await walkToParent(path);
      await fs.lutimes(path, at, at);
    },

    async remove(path) {
      await walkToParent(path);
      if (path === rootOf(path)) throw new UnsafePathError(path, "is a root");
      await fs.rm(path, { recursive: true, force: true });
    },
  };
};
