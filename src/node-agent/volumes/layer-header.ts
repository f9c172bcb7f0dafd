import type { Files, ReadableFile } from "../host/files.ts";
import { LONGEST_HEADER_BYTES, type Qcow2Header, qcow2Magic, readQcow2Header } from "../host/qcow2-header.ts";
import { DamagedDiskError } from "./failure.ts";

/** What a layer's own header says. */
export interface LayerHeader {
  readonly virtualSizeBytes: number;
  /** Path of the file that it stands on. */
  readonly backingPath: string | undefined;
  /** Whether nothing was ever written to it: all that is read through it comes from below. */
  readonly isEmpty: boolean;
}

/** QEMU allows so much. https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst */
const MAX_BACKING_NAME_BYTES = 1023;
/** QEMU's own bound, in bytes. */
const MAX_L1_TABLE_BYTES = 32 * 2 ** 20;

const EXTERNAL_DATA = 1n << 2n;

/**
 * The path in a backing file name: QEMU writes the plain path, or a "json:"
 * object where the file was opened with options, in one of two spellings.
 */
const pathIn = (name: string): string => {
  if (!name.startsWith("json:")) return name;
  try {
    const options: unknown = JSON.parse(name.slice("json:".length));
    return fileNameIn(options) ?? name;
  } catch {
    return name;
  }
};

const fileNameIn = (options: unknown): string | undefined => {
  if (typeof options !== "object" || options === null) return undefined;
  const flat = "file.filename" in options ? options["file.filename"] : undefined;
  if (typeof flat === "string") return flat;
  const file = "file" in options ? options.file : undefined;
  if (typeof file !== "object" || file === null || !("filename" in file)) return undefined;
  return typeof file.filename === "string" ? file.filename : undefined;
};

const readBackingPath = async (file: ReadableFile, header: Qcow2Header): Promise<string | undefined> => {
  if (header.backingFileOffset === 0n) return undefined;
  const length = Math.min(header.backingFileLength, MAX_BACKING_NAME_BYTES);
  const bytes = await file.read(Number(header.backingFileOffset), length);
  return pathIn(bytes.toString("utf8"));
};

const hasEmptyTable = async (file: ReadableFile, { l1Entries, l1TableOffset }: Qcow2Header) => {
  const table = await file.read(Number(l1TableOffset), Math.min(l1Entries * 8, MAX_L1_TABLE_BYTES));
  return table.every((byte) => byte === 0);
};

/**
 * Reads the header of a layer. Throws DamagedDiskError when the file is missing
 * or is no qcow2 file that keeps its data in itself: a program of ours that
 * opened such a file could be led to any file of the node.
 */
export const readLayerHeader = async (files: Files, path: string): Promise<LayerHeader> => {
  await using file = await files.openForReading(path);
  if (file === undefined) throw new DamagedDiskError(`${path} is missing`);
  const bytes = await file.read(0, LONGEST_HEADER_BYTES);
  const header = bytes.subarray(0, 4).equals(qcow2Magic) ? readQcow2Header(bytes) : undefined;
  if (header === undefined) throw new DamagedDiskError(`${path} is not a qcow2 file`);
  if ((header.incompatibleFeatures & EXTERNAL_DATA) !== 0n)
    throw new DamagedDiskError(`${path} keeps its data in another file, which no agent has told it to`);
  return {
    virtualSizeBytes: Number(header.virtualSizeBytes),
    backingPath: await readBackingPath(file, header),
    isEmpty: await hasEmptyTable(file, header),
  };
};
