import type { WritableFile } from "../host/files.ts";
import { ImageRefused } from "./failure.ts";
import { formatBytes } from "./limits.ts";

export interface ChunkWriterOptions {
  readonly chunks: AsyncIterable<Buffer>;
  readonly file: WritableFile;
  /** Where to go on; what the file has from there on is cut off. */
  readonly offset: number;
  /** More than so many bytes in the file, holes included, is a TooLarge. */
  readonly maxBytes: number;
  /** Called with the size of the file each time `checkpointBytes` more are durable, and at the end. */
  readonly onCheckpoint: (sizeBytes: number) => Promise<void>;
  readonly checkpointBytes: number;
  readonly signal: AbortSignal;
}

const zeros = Buffer.alloc(256 * 1024);

const isZero = (chunk: Buffer): boolean =>
  chunk.length <= zeros.length && zeros.subarray(0, chunk.length).equals(chunk);

/**
 * Writes a stream of unknown length into a file and returns the file's size.
 * Zeros become holes: a disk image is mostly empty, and a stream of zeros must
 * not fill the node.
 */
export const writeChunks = async (options: ChunkWriterOptions): Promise<number> => {
  const { file, maxBytes } = options;
  let size = options.offset;
  let durable = size;
  const checkpoint = async (): Promise<void> => {
    await file.truncate(size);
    await file.sync();
    durable = size;
    await options.onCheckpoint(size);
  };
  await file.truncate(size);
  for await (const chunk of options.chunks) {
    options.signal.throwIfAborted();
    if (size + chunk.length > maxBytes)
      throw new ImageRefused(
        "TooLarge",
        `the image is a file of more than ${formatBytes(maxBytes)}, which is what nodes accept`,
      );
    if (!isZero(chunk)) await file.write(chunk, size);
    size += chunk.length;
    if (size - durable >= options.checkpointBytes) await checkpoint();
  }
  await checkpoint();
  return size;
};
