import { join } from "node:path";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { Files } from "../host/files.ts";
import { isUid, uidPath } from "../host/paths.ts";
import { DamagedDiskError, describeDisk, DiskStateError } from "./failure.ts";
import { type DiskRecord, FORMER_LAYER, layerFile, parseRecord } from "./record.ts";
import type { DiskKind, DiskRef, StoragePool } from "./types.ts";

/**
 * Where disks lie:
 *
 *   <pool>/disks/<vm uid>/            a machine's root disk
 *   <pool>/volumes/<volume uid>/      a Volume's
 *     disk.json                       the record
 *     <layer>.qcow2                   layers
 *     memory/<snapshot uid>           memory of the guest, beside its root disk
 *
 * A file that ends in .new is being made, and counts for nothing.
 */
export interface Directories {
  pool(name: string): StoragePool;
  readonly pools: readonly StoragePool[];
  /** The directory of a disk. Throws unless the UID is one and the pool exists. */
  of(ref: DiskRef): string;
  layer(ref: DiskRef, name: string): string;
  /** Makes the directory and those above it, in the pool. */
  make(ref: DiskRef): Promise<void>;
  /** The record; undefined when there is none. Throws DamagedDiskError when it cannot be read. */
  read(ref: DiskRef): Promise<DiskRecord | undefined>;
  /** As read, but the disk must be there. */
  require(ref: DiskRef): Promise<DiskRecord>;
  write(ref: DiskRef, record: DiskRecord): Promise<DiskRecord>;
  /** Text of the record, for what has to be known of damaged ones too. */
  readText(ref: DiskRef): Promise<string | undefined>;
  /** Removes the directory and all in it; the record goes last. */
  remove(ref: DiskRef): Promise<void>;
  list(): Promise<readonly DiskRef[]>;
}

/** In a disk's directory. */
export const RECORD_FILE = "disk.json";
/** QEMU's user passes through, and nobody but root lists. */
export const TRAVERSE_ONLY = { mode: 0o711 } as const;
const RECORD_MODE = { mode: 0o600 } as const;
/** Some thousands of snapshots. */
const MAX_RECORD_BYTES = 2 ** 20;

const folders: Readonly<Record<DiskKind, string>> = { root: "disks", volume: "volumes" };
const kinds = Object.keys(folders) as readonly DiskKind[];

export const createDirectories = (pools: readonly StoragePool[], files: Files): Directories => {
  const byName = new Map(pools.map((pool) => [pool.name, pool]));
  if (!byName.has(LOCAL_POOL)) throw new RangeError(`there is no storage pool "${LOCAL_POOL}"`);

  const pool = (name: string): StoragePool => {
    const found = byName.get(name);
    if (found === undefined)
      throw new DiskStateError(
        `this node has no storage pool ${JSON.stringify(name)}; name it with --storage-pool`,
      );
    return found;
  };
  const folder = (name: string, kind: DiskKind): string => join(pool(name).path, folders[kind]);
  const of = (ref: DiskRef): string => uidPath(folder(ref.pool, ref.kind), ref.uid);
  const recordPath = (ref: DiskRef): string => join(of(ref), RECORD_FILE);
  const readText = (ref: DiskRef) => files.readText(recordPath(ref), { maxBytes: MAX_RECORD_BYTES });

  const read: Directories["read"] = async (ref) => {
    const text = await readText(ref);
    if (text === undefined) return undefined;
    const former = await files.stat(join(of(ref), layerFile(FORMER_LAYER)));
    const record = parseRecord(text, { hasFormerLayer: former !== undefined });
    if (record === undefined)
      throw new DamagedDiskError(
        `${describeDisk(ref)}: ${recordPath(ref)} is not what this agent writes; put it back from a backup, or move the directory away`,
      );
    return record;
  };

  return {
    pool,
    pools,
    of,
    read,
    readText,
    layer: (ref, name) => join(of(ref), layerFile(name)),

    async make(ref) {
      // The pool itself is not made: where its file system is not mounted, nothing may be written.
      if ((await files.stat(pool(ref.pool).path))?.kind !== "directory")
        throw new DiskStateError(
          `the directory ${pool(ref.pool).path} of storage pool ${ref.pool} does not exist; make or mount it`,
        );
      await files.ensureDirectory(folder(ref.pool, ref.kind), TRAVERSE_ONLY);
      await files.ensureDirectory(of(ref), TRAVERSE_ONLY);
    },

    async require(ref) {
      const record = await read(ref);
      if (record === undefined) throw new DiskStateError(`there is no ${describeDisk(ref)} on this node`);
      return record;
    },

    async write(ref, record) {
      await files.writeAtomically(recordPath(ref), `${JSON.stringify(record)}\n`, RECORD_MODE);
      return record;
    },

    async remove(ref) {
      for (const name of await files.list(of(ref)))
        if (name !== RECORD_FILE) await files.remove(join(of(ref), name));
      await files.remove(of(ref));
    },

    async list() {
      const found: DiskRef[] = [];
      for (const { name } of pools)
        for (const kind of kinds)
          for (const uid of await files.list(folder(name, kind)))
            if (isUid(uid)) found.push({ pool: name, kind, uid });
      return found;
    },
  };
};
