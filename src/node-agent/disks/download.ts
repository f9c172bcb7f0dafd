import type { Files } from "../host/files.ts";
import { writeChunks } from "./chunk-writer.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";
import { displayUrl, failedBecause, type HttpAnswer, type HttpSource } from "./http-source.ts";
import { formatBytes } from "./limits.ts";
import {
  continues,
  type PartialDownload,
  readPartialDownload,
  validatorOf,
  writePartialDownload,
} from "./partial-download.ts";
import type { DiskLimits } from "./types.ts";

export interface DownloadOptions {
  readonly url: URL;
  /** Where the bytes go. */
  readonly path: string;
  /** Where it is written down how far they are. */
  readonly recordPath: string;
  readonly files: Files;
  readonly source: Pick<HttpSource, "get">;
  readonly limits: DiskLimits;
  /** Throws when so many more bytes would fill the node. */
  readonly requireSpace: (bytes: number) => Promise<void>;
  readonly onBytes: (count: number) => void;
  readonly signal: AbortSignal;
}

/** Bytes to be asked for and written from `offset` on, of a content that `validator` identifies. */
interface Transfer {
  readonly answer: HttpAnswer;
  readonly offset: number;
  readonly validator: string | undefined;
  readonly totalBytes: number | undefined;
}

/** Files are digested and unpacked by us, as they are on the server. */
const plainly = { "accept-encoding": "identity", "user-agent": "vireo" } as const;

const contentLength = (answer: HttpAnswer): number | undefined => {
  const text = answer.header("content-length");
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
};

const refuseStatus = (answer: HttpAnswer, url: URL): never => {
  answer.discard();
  if (answer.status === 404 || answer.status === 410)
    throw new ImageRefused("NotFound", `${displayUrl(url)} does not exist (HTTP status ${answer.status})`);
  throw new FetchFailed("FetchFailed", `${displayUrl(url)} was answered with HTTP status ${answer.status}`);
};

const startAnew = async ({ url, source, signal }: DownloadOptions): Promise<Transfer> => {
  const answer = await source.get(url, { headers: plainly, signal });
  if (answer.status !== 200) return refuseStatus(answer, url);
  return { answer, offset: 0, validator: validatorOf(answer), totalBytes: contentLength(answer) };
};

/** Goes on where the record ends if the server agrees, and starts anew otherwise. */
const goOn = async (record: PartialDownload, options: DownloadOptions): Promise<Transfer> => {
  const range = { range: `bytes=${record.durableBytes}-`, "if-range": record.validator };
  const answer = await options.source.get(options.url, {
    headers: { ...plainly, ...range },
    signal: options.signal,
  });
  if (answer.status === 206 && continues(answer, record))
    return {
      answer,
      offset: record.durableBytes,
      validator: record.validator,
      totalBytes: record.totalBytes,
    };
  if (answer.status === 200)
    return { answer, offset: 0, validator: validatorOf(answer), totalBytes: contentLength(answer) };
  // A range that makes no sense to the server (416), or one that is not the one asked for.
  answer.discard();
  return startAnew(options);
};

async function* counted(answer: HttpAnswer, options: DownloadOptions): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer.body) {
      options.onBytes(chunk.length);
      yield chunk;
    }
  } catch (error) {
    throw failedBecause(options.url, error);
  }
}

const receive = async (transfer: Transfer, options: DownloadOptions): Promise<void> => {
  const { url, path, recordPath, files, limits, signal } = options;
  const { offset, validator, totalBytes } = transfer;
  if (totalBytes !== undefined && totalBytes > limits.maxFileBytes)
    throw new ImageRefused(
      "TooLarge",
      `the image is a file of ${formatBytes(totalBytes)}; nodes accept up to ${formatBytes(limits.maxFileBytes)}`,
    );
  await options.requireSpace((totalBytes ?? offset) - offset);
  const writeDown = async (durableBytes: number): Promise<void> => {
    await options.requireSpace(0);
    if (validator === undefined) return;
    const total = totalBytes === undefined ? {} : { totalBytes };
    await writePartialDownload(files, recordPath, { url: url.href, validator, durableBytes, ...total });
  };
  await using file = await files.openForWriting(path, { mode: 0o644 });
  // Before the first byte of another content, the record of the old one must go.
  if (offset === 0) await files.remove(recordPath);
  const size = await writeChunks({
    chunks: counted(transfer.answer, options),
    file,
    offset,
    maxBytes: limits.maxFileBytes,
    checkpointBytes: limits.checkpointBytes,
    onCheckpoint: writeDown,
    signal,
  });
  if (totalBytes !== undefined && size !== totalBytes)
    throw new FetchFailed("FetchFailed", `${displayUrl(url)} ended after ${size} of ${totalBytes} bytes`);
};

/** A record is of use only while the bytes that it speaks of exist. */
const usablePartial = async ({ files, recordPath, path, url }: DownloadOptions) => {
  const record = await readPartialDownload(files, recordPath, url);
  const present = (await files.stat(path))?.sizeBytes ?? 0;
  return record !== undefined && record.durableBytes > 0 && present >= record.durableBytes
    ? record
    : undefined;
};

/**
 * Downloads a file, going on where an earlier attempt of this or of a former
 * agent got to. Resolves when all of it is on disk and durable, with whether it
 * was put together of several answers.
 *
 * Throws FetchFailed when it is worth trying again, ImageRefused when not.
 */
export const download = async (options: DownloadOptions): Promise<{ readonly wasResumed: boolean }> => {
  const partial = await usablePartial(options);
  if (partial !== undefined && partial.totalBytes === partial.durableBytes) return { wasResumed: true };
  const transfer = await (partial === undefined ? startAnew(options) : goOn(partial, options));
  try {
    await receive(transfer, options);
    return { wasResumed: transfer.offset > 0 };
  } finally {
    transfer.answer.discard();
  }
};
