import type { ImageRefusal } from "../../../api/image.ts";
import { formatBytes } from "../limits.ts";
import { headerExtensions, type Qcow2Header } from "../../host/qcow2-header.ts";

/** All that the checks look at. */
export interface Qcow2Facts {
  readonly header: Qcow2Header;
  /** Types of the header extensions; undefined when they run out of the first cluster. */
  readonly extensionTypes: readonly number[] | undefined;
  readonly fileSizeBytes: number;
  readonly maxVirtualSizeBytes: number;
}

export interface Refusal {
  readonly reason: ImageRefusal;
  readonly message: string;
}

type Check = (facts: Qcow2Facts) => Refusal | undefined;

const refuseWhen = (bad: boolean, reason: ImageRefusal, message: string): Refusal | undefined =>
  bad ? { reason, message } : undefined;

const features = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalData: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
};
const knownFeatures = Object.values(features).reduce((all, bit) => all | bit, 0n);
const has = ({ header }: Qcow2Facts, bit: bigint): boolean => (header.incompatibleFeatures & bit) !== 0n;

const FLATTEN = "flatten it: qemu-img convert -O qcow2 <image> <new image>";
const BROKEN = "make it again: qemu-img convert -O qcow2 <source> <new image>";

const hasKnownVersion: Check = ({ header }) =>
  refuseWhen(
    header.version !== 2 && header.version !== 3,
    "UnknownFeature",
    `the file is qcow2 of version ${header.version}; versions 2 and 3 can be used`,
  );

const needsNoOtherDataFile: Check = (facts) =>
  refuseWhen(
    has(facts, features.externalData) ||
      facts.extensionTypes?.includes(headerExtensions.externalDataFile) === true,
    "ExternalDataFile",
    `the image keeps its data in another file, which could be any file of the node; ${FLATTEN}`,
  );

const needsNoBackingFile: Check = ({ header }) =>
  refuseWhen(
    header.backingFileOffset !== 0n,
    "BackingFile",
    `the image is built on another file, which could be any file of the node; ${FLATTEN}`,
  );

const hasOnlyKnownFeatures: Check = ({ header }) => {
  const unknown = header.incompatibleFeatures & ~knownFeatures;
  return refuseWhen(
    unknown !== 0n,
    "UnknownFeature",
    `the image uses features that are not known (incompatible feature bits 0x${unknown.toString(16)}); ${BROKEN}`,
  );
};

const isNotEncrypted: Check = ({ header, extensionTypes }) =>
  refuseWhen(
    header.cryptMethod !== 0 || extensionTypes?.includes(headerExtensions.fullDiskEncryption) === true,
    "UnknownFeature",
    "the image is encrypted; decrypt it first",
  );

const isNotMarkedCorrupt: Check = (facts) =>
  refuseWhen(has(facts, features.corrupt), "Corrupt", `the image is marked as corrupt; ${BROKEN}`);

const wasClosedCleanly: Check = (facts) =>
  refuseWhen(
    has(facts, features.dirty),
    "Corrupt",
    "the image was copied while it was being written; shut its user down, or run qemu-img check -r all on it",
  );

/** A file that ends before its first cluster does is truncated, which a later check says. */
const hasSaneHeaderLength: Check = ({ header, extensionTypes, fileSizeBytes }) =>
  refuseWhen(
    (header.version > 2 && (header.headerLength < 104 || header.headerLength % 8 !== 0)) ||
      header.headerLength > clusterBytes(header) ||
      (extensionTypes === undefined && fileSizeBytes >= clusterBytes(header)),
    "Corrupt",
    `the header of the image does not fit in its first cluster; ${BROKEN}`,
  );

const hasKnownCompression: Check = (facts) => {
  const { compressionType } = facts.header;
  const wanted = has(facts, features.compressionType) ? 1 : 0;
  return refuseWhen(
    compressionType !== wanted,
    "UnknownFeature",
    `the clusters of the image are compressed in an unknown way (type ${compressionType}); ${BROKEN}`,
  );
};

const clusterBytes = (header: Qcow2Header): number => 2 ** header.clusterBits;

/** QEMU's own bounds; beyond them it would refuse the file, or spend memory on it. */
const MAX_L1_TABLE_BYTES = 32 * 2 ** 20;
const MAX_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20;
const MAX_SNAPSHOTS = 65_536;
/** The fixed part of an entry of the snapshot table. */
const SNAPSHOT_ENTRY_BYTES = 40;

const hasSaneClusters: Check = (facts) => {
  const { clusterBits, refcountOrder } = facts.header;
  const smallest = has(facts, features.extendedL2) ? 14 : 9;
  return refuseWhen(
    clusterBits < smallest || clusterBits > 21 || refcountOrder > 6,
    "Corrupt",
    `the image has clusters of 2^${clusterBits} bytes and reference counts of 2^${refcountOrder} bits, which is out of range; ${BROKEN}`,
  );
};

const fitsTheLimit: Check = ({ header, maxVirtualSizeBytes }) =>
  refuseWhen(
    header.virtualSizeBytes > BigInt(maxVirtualSizeBytes),
    "TooLarge",
    `the disk in the image has ${formatBytes(header.virtualSizeBytes)}; nodes accept up to ${formatBytes(maxVirtualSizeBytes)}`,
  );

const mapsTheWholeDisk: Check = (facts) => {
  const { header } = facts;
  const entryBytes = has(facts, features.extendedL2) ? 16 : 8;
  const bytesPerL1Entry = BigInt(clusterBytes(header)) * BigInt(clusterBytes(header) / entryBytes);
  const needed = (header.virtualSizeBytes + bytesPerL1Entry - 1n) / bytesPerL1Entry;
  return refuseWhen(
    header.virtualSizeBytes === 0n ||
      BigInt(header.l1Entries) < needed ||
      header.l1Entries * 8 > MAX_L1_TABLE_BYTES,
    "Corrupt",
    `the first mapping table of the image has ${header.l1Entries} entries, which does not fit a disk of ${header.virtualSizeBytes} bytes; ${BROKEN}`,
  );
};

interface Table {
  readonly name: string;
  readonly offset: bigint;
  readonly bytes: number;
}

const tablesOf = (header: Qcow2Header): Table[] => [
  { name: "first mapping table", offset: header.l1TableOffset, bytes: header.l1Entries * 8 },
  {
    name: "reference count table",
    offset: header.refcountTableOffset,
    bytes: header.refcountTableClusters * clusterBytes(header),
  },
  ...(header.snapshots === 0
    ? []
    : [
        {
          name: "snapshot table",
          offset: header.snapshotsOffset,
          bytes: header.snapshots * SNAPSHOT_ENTRY_BYTES,
        },
      ]),
];

const hasSaneTables: Check = ({ header }) => {
  const misplaced = tablesOf(header).find(
    ({ offset }) => offset === 0n || offset % BigInt(clusterBytes(header)) !== 0n,
  );
  const refcountBytes = header.refcountTableClusters * clusterBytes(header);
  return refuseWhen(
    misplaced !== undefined ||
      refcountBytes === 0 ||
      refcountBytes > MAX_REFCOUNT_TABLE_BYTES ||
      header.snapshots > MAX_SNAPSHOTS,
    "Corrupt",
    `the ${misplaced?.name ?? "tables"} of the image cannot be where or as large as the header says; ${BROKEN}`,
  );
};

const keepsItsTablesInside: Check = ({ header, fileSizeBytes }) => {
  const outside = tablesOf(header).find(
    ({ offset, bytes }) => offset + BigInt(bytes) > BigInt(fileSizeBytes),
  );
  return refuseWhen(
    outside !== undefined,
    "Truncated",
    `the file ends after ${fileSizeBytes} bytes, before the end of its ${outside?.name}; upload the whole file`,
  );
};

/** In this order: each may rely on those before it. */
export const qcow2Checks: readonly Check[] = [
  hasKnownVersion,
  needsNoOtherDataFile,
  needsNoBackingFile,
  hasOnlyKnownFeatures,
  isNotEncrypted,
  isNotMarkedCorrupt,
  wasClosedCleanly,
  hasSaneClusters,
  hasSaneHeaderLength,
  hasKnownCompression,
  fitsTheLimit,
  mapsTheWholeDisk,
  hasSaneTables,
  keepsItsTablesInside,
];
