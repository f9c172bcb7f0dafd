import type { ImageCompression } from "../../api/image.ts";
import { CommandError } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import type { RunFilter } from "../host/filter.ts";
import { writeChunks } from "./chunk-writer.ts";
import { confined, mishap } from "./confined.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";
import type { DiskLimits } from "./types.ts";

type Compression = Exclude<ImageCompression, "None">;

/** Dictionaries of the strongest usual settings (xz -9, zstd --ultra -22 --long=27) fit. */
const MEMORY = "256MiB";

/**
 * All three formats allow several streams in one file, as pigz and pzstd write
 * them. Node's own zlib stops after the first frame of a Zstandard file without
 * an error, which would cut images silently; the formats' own programs do not.
 */
const programs: Readonly<Record<Compression, readonly string[]>> = {
  Gzip: ["gzip", "--decompress", "--stdout"],
  Xz: ["xz", "--format=xz", "--decompress", "--stdout", "--threads=1", `--memlimit-decompress=${MEMORY}`],
  Zstd: ["zstd", "--decompress", "--stdout", "--quiet", `--memory=${MEMORY}`],
};

const ADDRESS_SPACE_BYTES = 512 * 2 ** 20;
/** More than 64 GiB take; a program that is stuck uses no processor time, and the timeout ends it. */
const CPU_SECONDS = 3600;
const TIMEOUT_MS = 2 * 3600 * 1000;

export interface UnpackOptions {
  readonly compression: Compression;
  readonly from: string;
  readonly to: string;
  readonly files: Files;
  readonly runFilter: RunFilter;
  readonly limits: DiskLimits;
  readonly requireSpace: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

const refusal = (error: CommandError, compression: Compression): ImageRefused =>
  new ImageRefused(
    "DecompressionFailed",
    `the file cannot be unpacked as ${compression}; check spec.compression of the Image, and that the file is whole (${error.stderr.slice(0, 200)})`,
    { cause: error },
  );

/** Unpacks a file in a confined process, into at most `maxFileBytes`. Throws ImageRefused or FetchFailed. */
export const unpack = async (options: UnpackOptions): Promise<void> => {
  const { compression, files, limits, signal } = options;
  await using packed = await files.openForReading(options.from);
  if (packed === undefined) throw new FetchFailed("FetchFailed", "the downloaded file has disappeared");
  await using unpacked = await files.openForWriting(options.to, { mode: 0o644 });
  const [file, args] = confined(programs[compression], {
    addressSpaceBytes: ADDRESS_SPACE_BYTES,
    cpuSeconds: CPU_SECONDS,
  });
  const output = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
    await writeChunks({
      chunks,
      file: unpacked,
      offset: 0,
      maxBytes: limits.maxFileBytes,
      checkpointBytes: limits.checkpointBytes,
      onCheckpoint: () => options.requireSpace(0),
      signal,
    });
  };
  await options
    .runFilter(file, args, { signal, timeoutMs: TIMEOUT_MS, input: packed, output })
    .catch((error: unknown) => {
      throw error instanceof CommandError ? (mishap(error) ?? refusal(error, compression)) : error;
    });
};
