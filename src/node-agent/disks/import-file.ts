import { join } from "node:path";
import { type Files, UnsafePathError } from "../host/files.ts";
import { writeChunks } from "./chunk-writer.ts";
import { ImageRefused } from "./failure.ts";
import type { DiskLimits } from "./types.ts";

export interface ImportOptions {
  /** Plain name of a file in the import directory. */
  readonly name: string;
  /** What the administrator named; undefined when nothing was. */
  readonly importDirectory: string | undefined;
  /** Where the copy goes. */
  readonly path: string;
  readonly files: Files;
  readonly limits: DiskLimits;
  readonly requireSpace: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/;

/** The API has the same rule; what leads to a host path is checked again where it does. */
const sourcePath = ({ name, importDirectory }: ImportOptions): string => {
  if (importDirectory === undefined)
    throw new ImageRefused(
      "NotFound",
      "this node has no import directory; name one with --import-directory, or use an image with a URL",
    );
  if (!plainName.test(name))
    throw new ImageRefused("NotFound", `${JSON.stringify(name)} is not the plain name of a file`);
  return join(importDirectory, name);
};

/** Copies a file from the import directory: what happens to the original later does not reach guests. */
export const importFile = async (options: ImportOptions): Promise<void> => {
  const { name, files, path, limits, signal } = options;
  const opened = await files.openForReading(sourcePath(options)).catch((error: unknown) => {
    if (!(error instanceof UnsafePathError)) throw error;
    throw new ImageRefused("NotFound", `${name} in the node's import directory is not a plain file`, {
      cause: error,
    });
  });
  if (opened === undefined)
    throw new ImageRefused("NotFound", `there is no ${name} in the node's import directory; put it there`);
  await using original = opened;
  await options.requireSpace(Math.min(original.sizeBytes, limits.maxFileBytes));
  await using copy = await files.openForWriting(path, { mode: 0o644 });
  await writeChunks({
    chunks: original.chunks(),
    file: copy,
    offset: 0,
    maxBytes: limits.maxFileBytes,
    checkpointBytes: limits.checkpointBytes,
    onCheckpoint: () => options.requireSpace(0),
    signal,
  });
};
