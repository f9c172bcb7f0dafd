import type { z } from "zod";
import type { Files } from "../host/files.ts";

const MAX_RECORD_BYTES = 16 * 1024;

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** A small JSON file of ours; undefined when it does not exist or is not what we write. */
export const readRecord = async <T>(
  files: Files,
  path: string,
  schema: z.ZodType<T>,
): Promise<T | undefined> => {
  const text = await files.readText(path, { maxBytes: MAX_RECORD_BYTES });
  return text === undefined ? undefined : schema.safeParse(parseJson(text)).data;
};

/** Replaces the file as a whole, durably. Only root reads it. */
export const writeRecord = (files: Files, path: string, record: object): Promise<void> =>
  files.writeAtomically(path, `${JSON.stringify(record)}\n`, { mode: 0o600 });
