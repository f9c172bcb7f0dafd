import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { ImageRefused } from "../../../../src/node-agent/disks/failure.ts";
import { inspectHeader } from "../../../../src/node-agent/disks/image-format/inspect-header.ts";
import type { FileRanges } from "../../../../src/node-agent/disks/image-format/known-formats.ts";
import { CLUSTER_BYTES, type Qcow2Fields, qcow2Bytes } from "./qcow2-bytes.ts";

const GiB = 2 ** 30;
const limits = { maxVirtualSizeBytes: 10 * GiB };

const fileOf = (bytes: Buffer): FileRanges => ({
  sizeBytes: bytes.length,
  read: async (offset, length) => bytes.subarray(offset, offset + length),
});

/** "ready", or the reason of the refusal. Anything else that is thrown fails the test. */
const verdict = async (bytes: Buffer, format: "qcow2" | "raw"): Promise<string> => {
  try {
    await inspectHeader(fileOf(bytes), format, limits);
    return "ready";
  } catch (error) {
    if (!(error instanceof ImageRefused)) throw error;
    expect(error.message).toMatch(/\w{4}/);
    return error.reason;
  }
};

describe("a qcow2 header", () => {
  const good: readonly [string, Qcow2Fields][] = [
    ["version 3", {}],
    ["version 2", { version: 2 }],
    ["clusters of 512 bytes", { clusterBits: 9, l1Entries: 32 }],
    ["clusters of 2 MiB", { clusterBits: 21, l1TableOffset: 2n ** 21n, refcountTableOffset: 2n ** 22n }],
    ["Zstandard in its clusters", { incompatibleFeatures: 8n, compressionType: 1 }],
    ["extended L2 entries", { incompatibleFeatures: 16n }],
    [
      "extensions that may be ignored",
      {
        extensions: [
          [0x6803f857, 144],
          [0x23852875, 24],
          [0x12345678, 3],
        ],
      },
    ],
    ["the name of a backing format without a backing file", { extensions: [[0xe2792aca, 3]] }],
    ["a snapshot", { snapshots: 1, snapshotsOffset: BigInt(CLUSTER_BYTES) }],
    ["a disk of exactly the limit", { virtualSizeBytes: BigInt(10 * GiB), l1Entries: 20 }],
  ];
  test.each(good)("with %s is accepted", async (_sentence, fields) => {
    const bytes = Buffer.concat([qcow2Bytes(fields), Buffer.alloc(8 * 2 ** 20)]);
    expect(await verdict(bytes, "qcow2")).toBe("ready");
  });

  test("tells the size of the disk", async () => {
    const facts = await inspectHeader(fileOf(qcow2Bytes()), "qcow2", limits);
    expect(facts).toEqual({ virtualSizeBytes: 2 ** 20 });
  });

  const bad: readonly [string, string, Qcow2Fields][] = [
    ["a backing file", "BackingFile", { backingFileOffset: 512n }],
    ["a backing file in version 2", "BackingFile", { version: 2, backingFileOffset: 512n }],
    ["the external data bit", "ExternalDataFile", { incompatibleFeatures: 4n }],
    ["the name of an external data file", "ExternalDataFile", { extensions: [[0x44415441, 11]] }],
    [
      "an external data file behind another extension",
      "ExternalDataFile",
      {
        extensions: [
          [1, 5],
          [0x44415441, 0],
        ],
      },
    ],
    ["an unknown feature bit", "UnknownFeature", { incompatibleFeatures: 32n }],
    ["the highest feature bit", "UnknownFeature", { incompatibleFeatures: 2n ** 63n }],
    ["version 1", "UnknownFeature", { version: 1 }],
    ["version 4", "UnknownFeature", { version: 4 }],
    ["AES encryption", "UnknownFeature", { cryptMethod: 1 }],
    ["LUKS encryption", "UnknownFeature", { cryptMethod: 2 }],
    ["an encryption header", "UnknownFeature", { extensions: [[0x0537be77, 16]] }],
    ["an unknown compression", "UnknownFeature", { incompatibleFeatures: 8n, compressionType: 2 }],
    ["a compression type without its bit", "UnknownFeature", { compressionType: 1 }],
    ["the compression bit without a type", "UnknownFeature", { incompatibleFeatures: 8n, headerLength: 104 }],
    ["the corrupt bit", "Corrupt", { incompatibleFeatures: 2n }],
    ["the dirty bit", "Corrupt", { incompatibleFeatures: 1n }],
    ["clusters that are too small", "Corrupt", { clusterBits: 8 }],
    ["clusters that are too large", "Corrupt", { clusterBits: 22 }],
    ["clusters beyond all numbers", "Corrupt", { clusterBits: 0xffffffff }],
    ["small clusters and extended L2 entries", "Corrupt", { clusterBits: 13, incompatibleFeatures: 16n }],
    ["reference counts that are too wide", "Corrupt", { refcountOrder: 7 }],
    ["a header that is too short", "Corrupt", { headerLength: 96 }],
    ["a header of an odd length", "Corrupt", { headerLength: 109 }],
    ["a header beyond its cluster", "Corrupt", { headerLength: CLUSTER_BYTES + 8 }],
    ["an extension beyond the first cluster", "Corrupt", { extensions: [[7, 0xffffffff]] }],
    ["no size", "Corrupt", { virtualSizeBytes: 0n }],
    ["a mapping table that is too small for the disk", "Corrupt", { virtualSizeBytes: BigInt(GiB) }],
    ["a mapping table beyond QEMU's limit", "Corrupt", { l1Entries: 2 ** 22 + 1 }],
    ["no mapping table", "Corrupt", { l1TableOffset: 0n }],
    ["a mapping table at an odd place", "Corrupt", { l1TableOffset: 65_537n }],
    ["no reference count table", "Corrupt", { refcountTableOffset: 0n }],
    ["a reference count table of no size", "Corrupt", { refcountTableClusters: 0 }],
    ["a reference count table beyond QEMU's limit", "Corrupt", { refcountTableClusters: 0xffffffff }],
    ["more snapshots than QEMU reads", "Corrupt", { snapshots: 65_537, snapshotsOffset: 65_536n }],
    ["a mapping table behind the end", "Truncated", { l1TableOffset: BigInt(8 * CLUSTER_BYTES) }],
    ["a mapping table at the end of all numbers", "Truncated", { l1TableOffset: 2n ** 64n - 65_536n }],
    ["a reference count table behind the end", "Truncated", { refcountTableClusters: 2 }],
    ["snapshots behind the end", "Truncated", { snapshots: 1, snapshotsOffset: BigInt(9 * CLUSTER_BYTES) }],
    ["half of its file", "Truncated", { fileSizeBytes: 100_000 }],
    ["hardly more than itself", "Truncated", { fileSizeBytes: 120 }],
    ["half of itself", "Truncated", { fileSizeBytes: 80 }],
    ["its magic alone", "Truncated", { fileSizeBytes: 4 }],
    ["a disk over the limit", "TooLarge", { virtualSizeBytes: BigInt(10 * GiB) + 1n }],
    ["the largest disk there can be", "TooLarge", { virtualSizeBytes: 2n ** 64n - 1n }],
  ];
  test.each(bad)("with %s is refused: %s", async (_sentence, reason, fields) => {
    expect(await verdict(qcow2Bytes(fields), "qcow2")).toBe(reason);
  });

  test.each([
    ["zeros", Buffer.alloc(1024)],
    ["nothing", Buffer.alloc(0)],
    ["three bytes of the magic", Buffer.from("QFI")],
    ["a VMDK", Buffer.from("KDMV".padEnd(600))],
    ["a gzip file", Buffer.from([0x1f, 0x8b, 8, 0])],
  ])("is missed in %s: FormatMismatch", async (_sentence, bytes) => {
    expect(await verdict(bytes, "qcow2")).toBe("FormatMismatch");
  });
});

/** A disk of four sectors with a mark at the offset, from the end if it is negative. */
const disk = (offset: number, mark: string | readonly number[]): Buffer => {
  const bytes = Buffer.alloc(2048);
  const place = offset < 0 ? bytes.length + offset : offset;
  Buffer.from(typeof mark === "string" ? mark : Uint8Array.from(mark)).copy(bytes, place);
  return bytes;
};

describe("a raw image", () => {
  test.each([
    ["zeros", Buffer.alloc(512)],
    ["a partition table", disk(510, [0x55, 0xaa])],
    ["a mark that is not at the start", disk(512, "QFI\u00fb")],
  ])("of %s is accepted", async (_sentence, bytes) => {
    expect(await verdict(bytes, "raw")).toBe("ready");
  });

  test.each([
    ["qcow2", qcow2Bytes()],
    ["VMDK", disk(0, "KDMV")],
    ["VMDK of ESX", disk(0, "COWD")],
    ["a VMDK descriptor, which names other files", disk(0, "# Disk DescriptorFile\nversion=1")],
    ["VHDX", disk(0, "vhdxfile")],
    ["a growing VHD", disk(0, "conectix")],
    ["a fixed VHD, whose mark is at the end", disk(-512, "conectix")],
    ["VDI", disk(64, [0x7f, 0x10, 0xda, 0xbe])],
    ["QED", disk(0, [0x51, 0x45, 0x44, 0])],
    ["Parallels", disk(0, "WithoutFreeSpace")],
    ["DMG", disk(-512, "koly")],
    ["LUKS", disk(0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe])],
    ["gzip", disk(0, [0x1f, 0x8b])],
    ["xz", disk(0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0])],
    ["Zstandard", disk(0, [0x28, 0xb5, 0x2f, 0xfd])],
    ["a web page", disk(0, "<!DOCTYPE html>")],
  ])("that is %s in truth is refused", async (_sentence, bytes) => {
    expect(await verdict(bytes, "raw")).toBe("FormatMismatch");
  });

  test.each([
    ["nothing", 0],
    ["part of a sector", 700],
  ])("of %s is truncated", async (_sentence, size) => {
    expect(await verdict(Buffer.alloc(size), "raw")).toBe("Truncated");
  });

  test("beyond the limit is too large", async () => {
    const huge: FileRanges = { sizeBytes: 11 * GiB, read: async (_, length) => Buffer.alloc(length) };
    await expect(inspectHeader(huge, "raw", limits)).rejects.toMatchObject({ reason: "TooLarge" });
  });
});

describe("whatever the bytes are, the answer is yes or a refusal", () => {
  test("for arbitrary bytes behind the magic", async () => {
    const bytes = fc
      .tuple(fc.constantFrom(2, 3, 4), fc.uint8Array({ maxLength: 600 }))
      .map(([version, rest]) =>
        Buffer.concat([Buffer.from([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, version]), rest]),
      );
    await fc.assert(
      fc.asyncProperty(bytes, async (content) => {
        expect(await verdict(content, "qcow2")).not.toBe("ready");
      }),
      { numRuns: 500 },
    );
  });

  test("for a good image with some bytes changed and its end cut, and an accepted one has no way out of itself", async () => {
    const change = fc.tuple(fc.nat(200), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 4 }),
        fc.nat(4 * CLUSTER_BYTES),
        async (changes, size) => {
          const bytes = qcow2Bytes({ fileSizeBytes: size });
          for (const [offset, value] of changes) if (offset < bytes.length) bytes.writeUInt8(value, offset);
          if ((await verdict(bytes, "qcow2")) === "ready") {
            const externalData = bytes.readUInt32BE(4) === 2 ? 0n : bytes.readBigUInt64BE(72) & 4n;
            expect([bytes.readBigUInt64BE(8), externalData]).toEqual([0n, 0n]);
          }
          await verdict(bytes, "raw");
        },
      ),
      { numRuns: 500 },
    );
  });
});
