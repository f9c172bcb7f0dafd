import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import type { SeedDocuments } from "./render.ts";

/**
 * Where ISO 9660 keeps the application identifier: 128 characters in the
 * primary volume descriptor (ECMA-119, 8.4.20), which is sector 16.
 * The digest of the content lives there, so that the image itself says what it
 * was made of and no second file can disagree with it.
 */
const APPLICATION_ID = { offset: 16 * 2048 + 574, length: 128 } as const;

const BUILD_TIMEOUT_MS = 30_000;

/** The digest that a seed image was marked with; undefined when there is no image, or not one of ours. */
export const readSeedMark = async (files: Files, path: string): Promise<string | undefined> => {
  await using image = await files.openForReading(path);
  const field = await image?.read(APPLICATION_ID.offset, APPLICATION_ID.length);
  return field?.toString("latin1").trimEnd();
};

export interface BuildSeed {
  /** Where the image is to be. */
  readonly path: string;
  /** A directory of this machine for the documents; it is removed. */
  readonly workDirectory: string;
  readonly documents: SeedDocuments;
  /** Goes into the image as its mark. */
  readonly digest: string;
  readonly signal: AbortSignal;
}

/** Writes the image beside its place and renames it: a guest that has the old one open keeps it. */
export const buildSeed = async (
  tools: { readonly run: RunCommand; readonly files: Files },
  build: BuildSeed,
): Promise<void> => {
  const { run, files } = tools;
  const content = `${build.workDirectory}/content`;
  const image = `${build.path}.new`;
  await files.remove(build.workDirectory);
  await files.ensureDirectory(content, { mode: 0o700 });
  for (const [name, text] of Object.entries(build.documents))
    await files.writeAtomically(`${content}/${name}`, text, { mode: 0o444 });
  const labels = ["-volid", "cidata", "-appid", build.digest];
  await run("genisoimage", ["-quiet", "-output", image, ...labels, "-joliet", "-rational-rock", content], {
    signal: build.signal,
    timeoutMs: BUILD_TIMEOUT_MS,
  });
  await files.remove(build.workDirectory);
  await using written = await files.openForWriting(image, { mode: 0o444 });
  await written.sync();
  // Last, so that a seed that is in its place has nothing half-made beside it.
  await files.rename(image, build.path);
};
