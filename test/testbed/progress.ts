/** Tells the person who waits what is going on. Goes to stderr, so that stdout stays for results. */
export type Progress = (line: string) => void;

export const printProgress: Progress = (line) => {
  process.stderr.write(`vireo: ${line}\n`);
};

/** Seconds since `startedAt` (ms of the epoch), for a progress line. */
export const secondsSince = (startedAt: number): string =>
  `${((Date.now() - startedAt) / 1000).toFixed(1)} s`;
