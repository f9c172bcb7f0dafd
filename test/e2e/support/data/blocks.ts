import { createHash } from "node:crypto";

/** Where a block is: on which disk, and the how manyeth of that disk's places. */
export interface Place {
  readonly disk: string;
  readonly slot: number;
}

/** What is written to a place: its number tells it from everything else that was ever written. */
export interface Write extends Place {
  readonly sequence: number;
}

/** One page and one sector of the largest kind: a write of it is done, or not done. */
export const BLOCK_BYTES = 4096;
const RECORD_BYTES = 128;
const MiB = 2 ** 20;
const PAIR_MIB = 8;
/** The root disk's places lie behind its partitions. */
export const ROOT = "root";
const ROOT_START_MIB = 512;

/** How many places a disk of this size has. */
export const slotsIn = (sizeMiB: number): number => Math.floor(sizeMiB / PAIR_MIB) * 2;

/** A disk's places lie in pairs: two in one cluster of a layer, so that one is written where the other must stay. */
export const offsetOf = ({ disk, slot }: Place): number =>
  ((disk === ROOT ? ROOT_START_MIB : 0) + Math.floor(slot / 2) * PAIR_MIB) * MiB +
  (slot % 2) * 9 * BLOCK_BYTES;

/** A block is this line again and again: who it is, and the SHA-256 of that. guest-script.ts makes the same. */
export const recordOf = ({ disk, slot, sequence }: Write): string => {
  const body = `vireo disk=${disk} slot=${slot} sequence=${sequence}`.padEnd(62);
  return `${body} ${createHash("sha256").update(body).digest("hex")}\n`;
};

const RECORD = /^vireo disk=(\S+) slot=(\d+) sequence=(\d+) +[0-9a-f]{64}\n$/;

const writeIn = (record: string): Write | undefined => {
  const [, disk, slot, sequence] = RECORD.exec(record) ?? [];
  if (disk === undefined) return undefined;
  const write = { disk, slot: Number(slot), sequence: Number(sequence) };
  return recordOf(write) === record ? write : undefined;
};

/**
 * The number of what is in the block; 0 when nothing was ever written there.
 * Throws when any byte of it is wrong, or when it belongs to another place.
 */
export const sequenceIn = (block: Buffer, place: Place): number => {
  const where = `slot ${place.slot} of disk ${place.disk}`;
  if (block.length !== BLOCK_BYTES)
    throw new Error(`${where}: ${block.length} bytes instead of ${BLOCK_BYTES}`);
  if (block.every((byte) => byte === 0)) return 0;
  const record = block.toString("latin1", 0, RECORD_BYTES);
  const write = writeIn(record);
  if (write === undefined || block.toString("latin1") !== record.repeat(BLOCK_BYTES / RECORD_BYTES))
    throw new Error(`${where}: the block is torn or is none of ours: ${JSON.stringify(record)}`);
  if (write.disk !== place.disk || write.slot !== place.slot)
    throw new Error(`${where}: the block of slot ${write.slot} of disk ${write.disk}`);
  return write.sequence;
};
