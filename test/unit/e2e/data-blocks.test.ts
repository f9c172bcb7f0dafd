import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { BLOCK_BYTES, offsetOf, recordOf, ROOT, sequenceIn, slotsIn } from "../../e2e/support/data/blocks.ts";
import { GUEST_SCRIPT } from "../../e2e/support/data/guest-script.ts";

const place = { disk: "one", slot: 3 };
const blockOf = (sequence: number): Buffer => {
  const record = recordOf({ ...place, sequence });
  return Buffer.from(record.repeat(BLOCK_BYTES / record.length));
};

describe("a block", () => {
  test("says which it is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), (sequence) => {
        expect(blockOf(sequence)).toHaveLength(BLOCK_BYTES);
        expect(sequenceIn(blockOf(sequence), place)).toBe(sequence);
      }),
    );
  });

  test("with one byte that is wrong is refused", () => {
    fc.assert(
      fc.property(fc.nat(BLOCK_BYTES - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const block = blockOf(7);
        block[at] = (block[at] ?? 0) ^ change;
        expect(() => sequenceIn(block, place)).toThrow("torn");
      }),
    );
  });

  test("that was never written is all zeros, and one byte that is not is refused", () => {
    const block = Buffer.alloc(BLOCK_BYTES);
    expect(sequenceIn(block, place)).toBe(0);
    block[BLOCK_BYTES - 1] = 1;
    expect(() => sequenceIn(block, place)).toThrow("torn");
  });

  test("of another place is refused", () => {
    expect(() => sequenceIn(blockOf(7), { ...place, slot: 4 })).toThrow("the block of slot 3 of disk one");
    expect(() => sequenceIn(blockOf(7), { ...place, disk: "two" })).toThrow(
      "the block of slot 3 of disk one",
    );
  });

  test("that is cut off is refused", () => {
    expect(() => sequenceIn(blockOf(7).subarray(1), place)).toThrow("4095 bytes");
  });

  test("is made alike by the guest's script", () => {
    const directory = mkdtempSync(join(tmpdir(), "vireo-data-"));
    try {
      // Everything up to the actions: the functions alone.
      const functions = GUEST_SCRIPT.slice(0, GUEST_SCRIPT.indexOf("action=$1"));
      const file = join(directory, "functions.sh");
      writeFileSync(file, `${functions}\nblock one 3 42\n`);
      expect(sequenceIn(execFileSync("sh", [file]), place)).toBe(42);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe("the places of a disk", () => {
  test("do not overlap and lie inside it", () => {
    const sizeMiB = 128;
    const slots = Array.from({ length: slotsIn(sizeMiB) }, (_, slot) => offsetOf({ disk: "one", slot }));
    const sorted = slots.toSorted((a, b) => a - b);
    for (const [index, offset] of sorted.entries()) {
      expect(offset % BLOCK_BYTES).toBe(0);
      expect((sorted[index + 1] ?? sizeMiB * 2 ** 20) - offset).toBeGreaterThanOrEqual(BLOCK_BYTES);
    }
    expect(slots).toHaveLength(32);
  });

  test("of the root disk lie behind what boots", () => {
    expect(offsetOf({ disk: ROOT, slot: 0 })).toBe(512 * 2 ** 20);
  });
});
