import type { FileHandle } from "node:fs/promises";

/** A regular file that is open for reading. Close it, or bind it with `await using`. */
export interface ReadableFile extends AsyncDisposable {
  /** Size when the file was opened, in bytes. */
  readonly sizeBytes: number;
  /** For handing the file to a program. Valid until the file is closed. */
  readonly descriptor: number;
  /** Up to `length` bytes at `offset`; fewer only where the file ends. */
  read(offset: number, length: number): Promise<Buffer>;
  /** The content from `offset` on, in pieces. */
  chunks(offset?: number): AsyncIterable<Buffer>;
  close(): Promise<void>;
}

/** A regular file that is open for writing. Close it, or bind it with `await using`. */
export interface WritableFile extends AsyncDisposable {
  /** Writes all of the bytes at `offset`. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Cuts the file, or extends it with a hole. */
  truncate(sizeBytes: number): Promise<void>;
  setMode(mode: number): Promise<void>;
  /** Makes what was written survive a power cut. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export type OpenedFile = ReadableFile & WritableFile;

const CHUNK_BYTES = 256 * 1024;

const readFully = async (handle: FileHandle, offset: number, length: number): Promise<Buffer> => {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
};

const writeFully = async (handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> => {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, offset + written);
    written += bytesWritten;
  }
};

async function* chunksOf(handle: FileHandle, from: number): AsyncGenerator<Buffer> {
  let offset = from;
  for (;;) {
    const chunk = await readFully(handle, offset, CHUNK_BYTES);
    if (chunk.length > 0) yield chunk;
    if (chunk.length < CHUNK_BYTES) return;
    offset += chunk.length;
  }
}

/** A door on one open regular file; closing it twice is fine. */
export const openedFile = (handle: FileHandle, sizeBytes: number): OpenedFile => ({
  sizeBytes,
  descriptor: handle.fd,
  read: (offset, length) => readFully(handle, offset, length),
  chunks: (offset = 0) => chunksOf(handle, offset),
  write: (bytes, offset) => writeFully(handle, bytes, offset),
  truncate: (size) => handle.truncate(size),
  setMode: (mode) => handle.chmod(mode),
  sync: () => handle.sync(),
  close: () => handle.close(),
  [Symbol.asyncDispose]: () => handle.close(),
});
