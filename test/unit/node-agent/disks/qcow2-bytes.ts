/** Fields of a qcow2 header that a test wants to be different from those of a good image. */
export interface Qcow2Fields {
  readonly version?: number;
  readonly backingFileOffset?: bigint;
  readonly clusterBits?: number;
  readonly virtualSizeBytes?: bigint;
  readonly cryptMethod?: number;
  readonly l1Entries?: number;
  readonly l1TableOffset?: bigint;
  readonly refcountTableOffset?: bigint;
  readonly refcountTableClusters?: number;
  readonly snapshots?: number;
  readonly snapshotsOffset?: bigint;
  readonly incompatibleFeatures?: bigint;
  readonly refcountOrder?: number;
  readonly headerLength?: number;
  readonly compressionType?: number;
  /** Header extensions: type and length of the data. */
  readonly extensions?: readonly (readonly [type: number, length: number])[];
  readonly fileSizeBytes?: number;
}

export const CLUSTER_BYTES = 65_536;

/** The bytes of an empty image of 1 MiB in 64 KiB clusters: header, L1 table, reference count table. */
export const qcow2Bytes = (fields: Qcow2Fields = {}): Buffer => {
  const version = fields.version ?? 3;
  const bytes = Buffer.alloc(3 * CLUSTER_BYTES);
  bytes.write("QFI\u00fb", 0, "latin1");
  bytes.writeUInt32BE(version, 4);
  bytes.writeBigUInt64BE(fields.backingFileOffset ?? 0n, 8);
  bytes.writeUInt32BE(fields.clusterBits ?? 16, 20);
  bytes.writeBigUInt64BE(fields.virtualSizeBytes ?? 2n ** 20n, 24);
  bytes.writeUInt32BE(fields.cryptMethod ?? 0, 32);
  bytes.writeUInt32BE(fields.l1Entries ?? 1, 36);
  bytes.writeBigUInt64BE(fields.l1TableOffset ?? BigInt(CLUSTER_BYTES), 40);
  bytes.writeBigUInt64BE(fields.refcountTableOffset ?? BigInt(2 * CLUSTER_BYTES), 48);
  bytes.writeUInt32BE(fields.refcountTableClusters ?? 1, 56);
  bytes.writeUInt32BE(fields.snapshots ?? 0, 60);
  bytes.writeBigUInt64BE(fields.snapshotsOffset ?? 0n, 64);
  let end = 72;
  if (version > 2) {
    bytes.writeBigUInt64BE(fields.incompatibleFeatures ?? 0n, 72);
    bytes.writeUInt32BE(fields.refcountOrder ?? 4, 96);
    bytes.writeUInt32BE(fields.headerLength ?? 112, 100);
    bytes.writeUInt8(fields.compressionType ?? 0, 104);
    end = 112;
  }
  for (const [type, length] of fields.extensions ?? []) {
    bytes.writeUInt32BE(type, end);
    bytes.writeUInt32BE(length, end + 4);
    end += 8 + Math.ceil(length / 8) * 8;
  }
  return bytes.subarray(0, fields.fileSizeBytes ?? bytes.length);
};
