/**
 * The header of a qcow2 file as it is written there. Nothing is judged here.
 * https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst
 */
export interface Qcow2Header {
  readonly version: number;
  /** 0 when there is no backing file. */
  readonly backingFileOffset: bigint;
  /** Length of the backing file's name in bytes. */
  readonly backingFileLength: number;
  readonly clusterBits: number;
  readonly virtualSizeBytes: bigint;
  readonly cryptMethod: number;
  readonly l1Entries: number;
  readonly l1TableOffset: bigint;
  readonly refcountTableOffset: bigint;
  readonly refcountTableClusters: number;
  readonly snapshots: number;
  readonly snapshotsOffset: bigint;
  /** Bits that a reader must understand, or else leave the file alone. */
  readonly incompatibleFeatures: bigint;
  /** Binary logarithm of the width of a reference count in bits. */
  readonly refcountOrder: number;
  readonly headerLength: number;
  /** How compressed clusters are compressed: 0 deflate, 1 Zstandard. */
  readonly compressionType: number;
}

export const qcow2Magic: Buffer = Buffer.from([0x51, 0x46, 0x49, 0xfb]);

/** Bytes that hold every field of every version. */
export const LONGEST_HEADER_BYTES = 112;

const VERSION_2_BYTES = 72;
const VERSION_3_BYTES = 104;

type Additions = Pick<
  Qcow2Header,
  "incompatibleFeatures" | "refcountOrder" | "headerLength" | "compressionType"
>;

const additionsOfVersion2: Additions = {
  incompatibleFeatures: 0n,
  refcountOrder: 4,
  headerLength: VERSION_2_BYTES,
  compressionType: 0,
};

const readAdditions = (bytes: Buffer): Additions => {
  const headerLength = bytes.readUInt32BE(100);
  const hasCompressionType = headerLength > VERSION_3_BYTES && bytes.length > VERSION_3_BYTES;
  return {
    incompatibleFeatures: bytes.readBigUInt64BE(72),
    refcountOrder: bytes.readUInt32BE(96),
    headerLength,
    compressionType: hasCompressionType ? bytes.readUInt8(VERSION_3_BYTES) : 0,
  };
};

/** The header at the start of the bytes; undefined when they end before it does. The magic is not looked at. */
export const readQcow2Header = (bytes: Buffer): Qcow2Header | undefined => {
  if (bytes.length < VERSION_2_BYTES) return undefined;
  const version = bytes.readUInt32BE(4);
  if (version > 2 && bytes.length < VERSION_3_BYTES) return undefined;
  return {
    version,
    backingFileOffset: bytes.readBigUInt64BE(8),
    backingFileLength: bytes.readUInt32BE(16),
    clusterBits: bytes.readUInt32BE(20),
    virtualSizeBytes: bytes.readBigUInt64BE(24),
    cryptMethod: bytes.readUInt32BE(32),
    l1Entries: bytes.readUInt32BE(36),
    l1TableOffset: bytes.readBigUInt64BE(40),
    refcountTableOffset: bytes.readBigUInt64BE(48),
    refcountTableClusters: bytes.readUInt32BE(56),
    snapshots: bytes.readUInt32BE(60),
    snapshotsOffset: bytes.readBigUInt64BE(64),
    ...(version > 2 ? readAdditions(bytes) : additionsOfVersion2),
  };
};

export const headerExtensions = {
  end: 0x00000000,
  fullDiskEncryption: 0x0537be77,
  externalDataFile: 0x44415441,
} as const;

/**
 * The types of the extensions behind the header, from the bytes of the first
 * cluster; undefined when one of them does not fit in there.
 */
export const readExtensionTypes = (firstCluster: Buffer, headerLength: number): number[] | undefined => {
  const types: number[] = [];
  let offset = headerLength;
  while (offset + 8 <= firstCluster.length) {
    const type = firstCluster.readUInt32BE(offset);
    if (type === headerExtensions.end) return types;
    types.push(type);
    // Each is padded to a multiple of eight bytes.
    offset += 8 + Math.ceil(firstCluster.readUInt32BE(offset + 4) / 8) * 8;
  }
  return offset <= firstCluster.length ? types : undefined;
};
