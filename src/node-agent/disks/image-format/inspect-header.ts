import type { ImageFormat } from "../../../api/image.ts";
import { ImageRefused } from "../failure.ts";
import { formatBytes } from "../limits.ts";
import { claimedFormat, type FileRanges } from "./known-formats.ts";
import { qcow2Checks } from "./qcow2-checks.ts";
import {
  LONGEST_HEADER_BYTES,
  qcow2Magic,
  readExtensionTypes,
  readQcow2Header,
} from "../../host/qcow2-header.ts";

export interface HeaderLimits {
  readonly maxVirtualSizeBytes: number;
}

/** What a file's first bytes say of the disk in it. */
export interface HeaderFacts {
  readonly virtualSizeBytes: number;
}

const MAX_CLUSTER_BYTES = 2 ** 21;
const SECTOR_BYTES = 512;

const inspectQcow2 = async (file: FileRanges, limits: HeaderLimits): Promise<HeaderFacts> => {
  const head = await file.read(0, LONGEST_HEADER_BYTES);
  if (!head.subarray(0, 4).equals(qcow2Magic)) {
    const claimed = await claimedFormat(file);
    const what = claimed === undefined ? "something else, perhaps raw" : `${claimed.name}: ${claimed.advice}`;
    throw new ImageRefused("FormatMismatch", `the image is declared as qcow2, but its content is ${what}`);
  }
  const header = readQcow2Header(head);
  if (header === undefined)
    throw new ImageRefused("Truncated", `the file has only ${file.sizeBytes} bytes; upload the whole file`);
  const clusterBytes = Math.min(2 ** Math.min(header.clusterBits, 21), MAX_CLUSTER_BYTES);
  const firstCluster = await file.read(0, clusterBytes);
  const facts = {
    header,
    extensionTypes: readExtensionTypes(firstCluster, header.headerLength),
    fileSizeBytes: file.sizeBytes,
    maxVirtualSizeBytes: limits.maxVirtualSizeBytes,
  };
  for (const check of qcow2Checks) {
    const refusal = check(facts);
    if (refusal !== undefined) throw new ImageRefused(refusal.reason, refusal.message);
  }
  return { virtualSizeBytes: Number(header.virtualSizeBytes) };
};

const inspectRaw = async (file: FileRanges, limits: HeaderLimits): Promise<HeaderFacts> => {
  const claimed = await claimedFormat(file);
  if (claimed !== undefined)
    throw new ImageRefused(
      "FormatMismatch",
      `the image is declared as raw, but its content is ${claimed.name}: ${claimed.advice}`,
    );
  if (file.sizeBytes === 0 || file.sizeBytes % SECTOR_BYTES !== 0)
    throw new ImageRefused(
      "Truncated",
      `a raw disk of ${file.sizeBytes} bytes is not a whole number of ${SECTOR_BYTES}-byte sectors; upload the whole file`,
    );
  if (file.sizeBytes > limits.maxVirtualSizeBytes)
    throw new ImageRefused(
      "TooLarge",
      `the disk in the image has ${formatBytes(file.sizeBytes)}; nodes accept up to ${formatBytes(limits.maxVirtualSizeBytes)}`,
    );
  return { virtualSizeBytes: file.sizeBytes };
};

/**
 * Judges an image by its header, before any other program sees it. The format
 * is the declared one; it is never guessed. Throws ImageRefused, and nothing
 * else whatever the content is, except for errors of reading.
 */
export const inspectHeader = (
  file: FileRanges,
  format: ImageFormat,
  limits: HeaderLimits,
): Promise<HeaderFacts> => (format === "qcow2" ? inspectQcow2(file, limits) : inspectRaw(file, limits));
