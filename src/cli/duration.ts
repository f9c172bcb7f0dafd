import { UsageError } from "./errors.ts";

const UNITS: Readonly<Record<string, number>> = { "": 1_000, s: 1_000, m: 60_000, h: 3_600_000 };

const DEFAULT_TIMEOUT_MS = 300_000;

/** Milliseconds of a duration such as 90s, 5m or 1h; a bare number is in seconds. Throws UsageError. */
export const readDuration = (flag: string, text: string | undefined): number => {
  if (text === undefined) return DEFAULT_TIMEOUT_MS;
  const match = /^([0-9]{1,6})([smh]?)$/.exec(text);
  const ms = Number(match?.[1] ?? 0) * (UNITS[match?.[2] ?? ""] ?? 0);
  if (ms > 0) return ms;
  throw new UsageError(`--${flag}: ${JSON.stringify(text)} is not a duration such as 90s, 5m or 1h`);
};

/** A time in one unit, as kubectl shows ages: 45s, 12m, 3h, 2d. */
export const shortDuration = (ms: number): string => {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
};
