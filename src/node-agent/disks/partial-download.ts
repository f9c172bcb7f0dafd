import { z } from "zod";
import type { Files } from "../host/files.ts";
import type { HttpAnswer } from "./http-source.ts";
import { readRecord, writeRecord } from "./record.ts";

/**
 * What is known of a download that is under way, kept beside its bytes so that
 * the next agent can go on where this one was killed.
 */
const partialDownload = z.object({
  url: z.string(),
  /** Identifies the content on the server: a strong ETag, or else Last-Modified. */
  validator: z.string(),
  /** Size of the whole file, when the server told. */
  totalBytes: z.int().min(0).optional(),
  /** So many bytes are safe on disk, also after a power cut. */
  durableBytes: z.int().min(0),
});

export type PartialDownload = Readonly<z.output<typeof partialDownload>>;

/** The record, if it is whole and of the same URL. */
export const readPartialDownload = async (
  files: Files,
  path: string,
  url: URL,
): Promise<PartialDownload | undefined> => {
  const record = await readRecord(files, path, partialDownload);
  return record?.url === url.href ? record : undefined;
};

export const writePartialDownload = (files: Files, path: string, record: PartialDownload): Promise<void> =>
  writeRecord(files, path, record);

/**
 * What If-Range may be asked with. A weak ETag may stand for several contents,
 * so it is none. https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
 */
export const validatorOf = (answer: HttpAnswer): string | undefined => {
  const etag = answer.header("etag");
  return etag?.startsWith('"') === true ? etag : answer.header("last-modified");
};

/** Whether a 206 goes on exactly where the record ends, in the same content. */
export const continues = (answer: HttpAnswer, record: PartialDownload): boolean => {
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.header("content-range") ?? "");
  if (range === null || Number(range[1]) !== record.durableBytes) return false;
  if (range[3] !== "*" && record.totalBytes !== undefined && Number(range[3]) !== record.totalBytes)
    return false;
  const validator = validatorOf(answer);
  return validator === undefined || validator === record.validator;
};
