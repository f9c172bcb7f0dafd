import type { DiskLimits } from "./types.ts";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

export const defaultLimits: DiskLimits = {
  maxVirtualSizeBytes: 1024 * GiB,
  maxFileBytes: 64 * GiB,
  cacheBytes: 50 * GiB,
  reservedBytes: GiB,
  stallMs: 30_000,
  checkpointBytes: 32 * MiB,
  maxRedirects: 5,
};

/** "1.5 GiB": for people, in messages. */
export const formatBytes = (bytes: number | bigint): string => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;
  let value = Number(bytes);
  let index = 0;
  while (value >= 1024 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  return `${Math.round(value * 10) / 10} ${units[index]}`;
};
