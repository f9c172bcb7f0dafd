import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";

/** What is in a file. */
export interface Content {
  /** Whether there is this text in it, anywhere. */
  readonly found: boolean;
  /** Whether there is nothing in it but zeros. */
  readonly isZero: boolean;
}

/** Opens all layers of disks, by the disks' directories. They can be read until they are closed, whoever deletes them. */
export const openLayers = async (directories: readonly string[]): Promise<readonly FileHandle[]> => {
  const paths = await Promise.all(
    directories.map(async (directory) =>
      (await readdir(directory))
        .filter((name) => name.endsWith(".qcow2"))
        .map((name) => join(directory, name)),
    ),
  );
  return Promise.all(paths.flat().map((path) => open(path, "r")));
};

/** Reads the whole of a file, of which the operating system need not know the name any more. */
export const contentOf = async (file: FileHandle, text: string): Promise<Content> => {
  const { size } = await file.stat();
  const content = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const { bytesRead } = await file.read(content, length, size - length, length);
    if (bytesRead === 0) throw new Error(`the file has shrunk to ${length} of ${size} bytes`);
    length += bytesRead;
  }
  return { found: content.includes(text), isZero: content.equals(Buffer.alloc(size)) };
};

/** Names of all files under these directories that have a text in them. */
export const filesWith = async (text: string, directories: readonly string[]): Promise<readonly string[]> => {
  const found: string[] = [];
  for (const directory of directories)
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      await using file = await open(path, "r");
      if ((await contentOf(file, text)).found) found.push(path);
    }
  return found;
};
