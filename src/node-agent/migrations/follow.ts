import { setTimeout as sleep } from "node:timers/promises";
import { DomainJobType, type DomainRef, type LibvirtConnection } from "../../libvirt/index.ts";

/** What is looked at while QEMU copies a guest, and what comes of that. */
export interface Copy {
  readonly connection: Pick<LibvirtConnection, "jobStats" | "setMigrationMaxDowntime">;
  readonly ref: DomainRef;
  readonly maxDowntimeMilliseconds: number;
  readonly onProgress: (progress: DepartureProgress) => void;
}

export interface DepartureProgress {
  readonly percent: number;
  readonly remainingMiB: number;
  /** How often QEMU has gone through the guest's memory; undefined while it copies disks. */
  readonly iteration: number | undefined;
}

const FIRST_SHARE = 1 / 10;
/** The first brings all of the memory, the second what the guest has written meanwhile. */
const PATIENT_ITERATIONS = 2;

/**
 * How long the guest may stand still by now, in ms. QEMU stops it as soon as what
 * is left can be sent in the time that is allowed, and uses all of it: a guest
 * that writes little stands still for a tenth, and one that writes faster than it
 * is sent for twice as long after each further iteration, up to the maximum.
 */
export const downtimeLimit = (maxMilliseconds: number, iteration = 0): number => {
  const doublings = Math.max(0, iteration - PATIENT_ITERATIONS);
  return Math.max(1, Math.round(maxMilliseconds * Math.min(1, FIRST_SHARE * 2 ** doublings)));
};

const LOOK_MS = 250;
const MiB = 1_048_576n;

const progressOf = (stats: ReadonlyMap<string, unknown>): DepartureProgress => {
  const figure = (name: string): bigint => {
    const value = stats.get(name);
    return typeof value === "bigint" ? value : typeof value === "number" ? BigInt(value) : 0n;
  };
  const total = figure("memory_total") + figure("disk_total");
  const remaining = figure("memory_remaining") + figure("disk_remaining");
  const done = total > remaining ? total - remaining : 0n;
  return {
    percent: total === 0n ? 0 : Math.min(99, Number((100n * done) / total)),
    remainingMiB: Number((remaining + MiB - 1n) / MiB),
    iteration: stats.has("memory_iteration") ? Number(figure("memory_iteration")) : undefined,
  };
};

/** Tells how far it is, and allows the guest to stand still for longer where it must, until `over`. */
const followUntil = async (over: AbortSignal, copy: Copy): Promise<void> => {
  const { connection, ref, maxDowntimeMilliseconds } = copy;
  let allowed = downtimeLimit(maxDowntimeMilliseconds);
  const look = async (): Promise<void> => {
    const { type, stats } = await connection.jobStats(ref);
    if (type !== DomainJobType.UNBOUNDED) return;
    const progress = progressOf(stats);
    copy.onProgress(progress);
    const allow = downtimeLimit(maxDowntimeMilliseconds, progress.iteration);
    if (allow === allowed) return;
    await connection.setMigrationMaxDowntime(ref, BigInt(allow));
    allowed = allow;
  };
  const isOver = (): Promise<boolean> => sleep(LOOK_MS, false, { signal: over }).catch(() => true);
  // What cannot be looked at now is looked at again.
  while (!(await isOver())) await look().catch(() => {});
};

/** Follows the copy until it is over. */
export const follow = async <T>(performing: Promise<T>, copy: Copy): Promise<T> => {
  const over = new AbortController();
  const following = followUntil(over.signal, copy);
  try {
    return await performing;
  } finally {
    over.abort();
    await following;
  }
};
