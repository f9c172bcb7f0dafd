import { join } from "node:path";
import { z } from "zod";
import type { ReadableFile } from "../host/files.ts";
import { baseFile, chainOf, headerOf, layerAsFile, requireIntact } from "./chains.ts";
import { RECORD_FILE } from "./directories.ts";
import { describeDisk, DiskBusyError, DiskStateError } from "./failure.ts";
import type { JobOptions } from "./jobs.ts";
import { type DiskRecord, diskRecord, layerFile, memoryFile } from "./record.ts";
import { alone, destroy, diskKey, inTurn, reading, type Room } from "./room.ts";
import { settleWhileOff } from "./settle.ts";
import type { DiskChain, DiskRef, Unfinished, VolumeOptions } from "./types.ts";

/** A disk as it is sent to another node: its record, and the files that the record speaks of. */
export const diskManifest = z.object({
  record: diskRecord,
  /** What the guest sees, in bytes. */
  virtualSizeBytes: z.int().min(0),
  /** Layers that nobody writes, and memory files of snapshots. */
  frozen: z.array(z.object({ name: z.string(), sizeBytes: z.int().min(0) })).max(10_000),
  /** The layer that the guest writes. */
  head: z.object({ name: z.string(), sizeBytes: z.int().min(0) }),
});
export type DiskManifest = z.output<typeof diskManifest>;

/** A file of a disk that is open for sending. Its disk's layers stay as they are until it is closed. */
export type SentFile = ReadableFile;

export interface Reception {
  /** The migration: what an earlier one has left here is not taken for this one's. */
  readonly migrationUid: string;
  readonly ref: DiskRef;
  readonly manifest: DiskManifest;
  /**
   * Whether the guest's own layer is copied too. Otherwise it is made empty:
   * QEMU copies what the guest has written, while that goes on.
   */
  readonly withHead: boolean;
  /** The content of a file, by the name in the manifest. Throws unless it came whole. */
  readonly fetch: (name: string, options: { readonly signal: AbortSignal }) => AsyncIterable<Uint8Array>;
}

export type ReceptionOutcome = { readonly kind: "ready"; readonly chain: DiskChain } | Unfinished;

/** Disks on their way from one node to another. */
export interface VolumeTransfers {
  /**
   * What there is to send. Throws DiskBusyError while something is being done
   * with the disk. Nothing may change the disk until it has been sent.
   */
  describe(
    ref: DiskRef,
    state: { readonly isRunning: boolean },
    options: VolumeOptions,
  ): Promise<DiskManifest>;
  /** Opens a file that a manifest names; undefined when the disk has no such file. */
  open(ref: DiskRef, name: string, options: VolumeOptions): Promise<SentFile | undefined>;
  /**
   * Makes the same disk here, in the background: `onChange` tells when to ask
   * again. What another migration left is replaced; a disk that no migration
   * has brought is never touched.
   */
  receive(want: Reception, options: VolumeOptions): Promise<ReceptionOutcome>;
  /**
   * Nothing of the disk stays in this pool, whatever needs it: it is on another
   * node. With `migrationUid` only what that migration has brought. Never in a
   * pool that other nodes have too.
   */
  drop(ref: DiskRef, what: { readonly migrationUid?: string }, options: VolumeOptions): Promise<void>;
  /** The received disk is an ordinary one from now on. */
  accept(ref: DiskRef, options: VolumeOptions): Promise<void>;
}

const OWNER_ONLY = { mode: 0o600 } as const;
/** Names the migration that has brought, or is bringing, what is in the directory. */
const MARK = "received";

/** Names of the files that are there beside the head. */
const frozenNames = ({ layers, head, snapshots }: DiskRecord): readonly string[] => [
  ...layers.filter(({ name }) => name !== head).map(({ name }) => layerFile(name)),
  ...snapshots.filter(({ hasMemory }) => hasMemory).map(({ uid }) => memoryFile(uid)),
];

const sizedFile = async ({ files, directories }: Room, ref: DiskRef, name: string) => {
  const status = await files.stat(join(directories.of(ref), name));
  if (status?.kind !== "file") throw new DiskStateError(`${describeDisk(ref)}: file ${name} is missing`);
  return { name, sizeBytes: status.sizeBytes };
};

const describeInTurn = async (room: Room, ref: DiskRef, record: DiskRecord): Promise<DiskManifest> => {
  const { head } = record;
  if (head === undefined || record.retained !== undefined)
    throw new DiskStateError(`${describeDisk(ref)} is no disk that a guest can use`);
  if (record.pending !== undefined || record.doomed.length > 0 || room.jobs.isRunning(diskKey(ref)))
    throw new DiskBusyError(ref, "a snapshot, a restore, a merge or a removal is not over");
  await requireIntact(room, ref, record, head);
  const frozen: { name: string; sizeBytes: number }[] = [];
  for (const name of frozenNames(record)) frozen.push(await sizedFile(room, ref, name));
  const { virtualSizeBytes } = await headerOf(room, ref, head);
  return { record, virtualSizeBytes, frozen, head: await sizedFile(room, ref, layerFile(head)) };
};

const describe =
  (room: Room): VolumeTransfers["describe"] =>
  (ref, { isRunning }, { signal }) =>
    inTurn(room, ref, async () => {
      const record = await room.directories.require(ref);
      const settled = isRunning ? record : await settleWhileOff(room, ref, record, signal);
      return describeInTurn(room, ref, settled);
    });

const open =
  (room: Room): VolumeTransfers["open"] =>
  (ref, name) =>
    inTurn(room, ref, async () => {
      const record = await room.directories.read(ref);
      const head = record?.head === undefined ? [] : [layerFile(record.head)];
      if (record === undefined || ![...frozenNames(record), ...head].includes(name)) return undefined;
      const file = await room.files.openForReading(join(room.directories.of(ref), name));
      if (file === undefined) return undefined;
      const hold = reading(room, ref);
      let isOpen = true;
      const close = async (): Promise<void> => {
        if (isOpen) hold[Symbol.dispose]();
        isOpen = false;
        await file.close();
      };
      return {
        sizeBytes: file.sizeBytes,
        descriptor: file.descriptor,
        read: (offset, length) => file.read(offset, length),
        chunks: (offset) => file.chunks(offset),
        close,
        [Symbol.asyncDispose]: close,
      };
    });

const markOf = async ({ files, directories }: Room, ref: DiskRef): Promise<string | undefined> =>
  (await files.readText(join(directories.of(ref), MARK), { maxBytes: 64 }))?.trim();

/** What a killed agent has not finished counts for nothing: a directory of which it made no more is nobody's. */
const isUnused = (names: readonly string[]): boolean => names.every((name) => name.endsWith(".new"));

/** An empty directory of this migration; throws when there is a disk in it that no migration has brought. */
const makePlace = async (
  room: Room,
  { ref, migrationUid }: Reception,
  signal: AbortSignal,
): Promise<void> => {
  const { directories, files } = room;
  const mark = await markOf(room, ref);
  const names = await files.list(directories.of(ref));
  if (mark === undefined && !isUnused(names))
    throw new DiskStateError(`${describeDisk(ref)} exists on this node, and no migration has brought it`);
  if (mark !== migrationUid) {
    // The mark goes last: without it what is left would count for a disk of this node's own.
    for (const name of names)
      if (name !== MARK) await destroy(room, ref.pool, join(directories.of(ref), name), signal);
    await directories.make(ref);
    await files.writeAtomically(join(directories.of(ref), MARK), `${migrationUid}\n`, OWNER_ONLY);
  }
};

const fetchFile = async (
  { files, directories }: Room,
  { ref, fetch }: Reception,
  { name, sizeBytes }: { readonly name: string; readonly sizeBytes: number },
  job: { readonly signal: AbortSignal; readonly onBytes: (count: number) => void },
): Promise<void> => {
  const path = join(directories.of(ref), name);
  // It was renamed when it was whole.
  if ((await files.stat(path)) !== undefined) return job.onBytes(sizeBytes);
  await using file = await files.openForWriting(`${path}.new`, OWNER_ONLY);
  await file.truncate(0);
  let offset = 0;
  for await (const chunk of fetch(name, { signal: job.signal })) {
    await file.write(chunk, offset);
    offset += chunk.length;
    job.onBytes(chunk.length);
  }
  await file.sync();
  await files.rename(`${path}.new`, path);
};

/** Layers name what they stand on by a path of the node that they come from. */
const relink = async (
  room: Room,
  ref: DiskRef,
  { layers, head }: DiskRecord,
  { record, signal, withHead }: { record: DiskRecord; signal: AbortSignal; withHead: boolean },
): Promise<void> => {
  for (const { name, parent } of layers) {
    if (name === head && !withHead) continue;
    const base = await baseFile(room, ref, record, parent);
    const { backingPath } = await headerOf(room, ref, name);
    if (backingPath !== base?.path)
      await room.qemuImg.relink(layerAsFile(room, ref, name).path, base, { signal });
  }
};

const makeEmptyHead = async (
  room: Room,
  { ref, manifest }: Reception,
  signal: AbortSignal,
): Promise<void> => {
  const { record, virtualSizeBytes } = manifest;
  const head = record.layers.find(({ name }) => name === record.head);
  if (head === undefined) throw new DiskStateError(`${describeDisk(ref)}: the record names no head`);
  const backing = await baseFile(room, ref, record, head.parent);
  const path = room.directories.layer(ref, head.name);
  await destroy(room, ref.pool, path, signal);
  await room.qemuImg.create(path, { sizeBytes: virtualSizeBytes, backing }, { signal });
};

/** A name in a manifest becomes part of a path: only those that the record itself makes are taken. */
const requireOwnNames = ({ ref, manifest }: Reception): void => {
  const { record, frozen, head } = manifest;
  const isHead = record.head !== undefined && head.name === layerFile(record.head);
  const expected = frozenNames(record).toSorted().join();
  if (
    isHead &&
    expected ===
      frozen
        .map(({ name }) => name)
        .toSorted()
        .join()
  )
    return;
  throw new DiskStateError(`${describeDisk(ref)}: the manifest names other files than its record`);
};

const receptionJob =
  (room: Room, want: Reception) =>
  async ({ signal, onProgress }: JobOptions): Promise<void> => {
    const { ref, manifest, withHead } = want;
    const { record, frozen, head } = manifest;
    const wanted = withHead ? [...frozen, head] : frozen;
    const total = wanted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let received = 0;
    const onBytes = (count: number): void => {
      received += count;
      onProgress(Math.min(99, Math.floor((100 * received) / Math.max(1, total))));
    };
    if (frozen.some(({ name }) => name.startsWith("memory/")))
      await room.files.ensureDirectory(join(room.directories.of(ref), "memory"), { mode: 0o700 });
    for (const file of wanted) await fetchFile(room, want, file, { signal, onBytes });
    await relink(room, ref, record, { record, signal, withHead });
    if (!withHead) await makeEmptyHead(room, want, signal);
    if (record.head !== undefined) await requireIntact(room, ref, record, record.head);
    await room.directories.write(ref, record);
  };

const receive =
  (room: Room): VolumeTransfers["receive"] =>
  (want, { signal }) =>
    inTurn(room, want.ref, async () => {
      const { ref, migrationUid } = want;
      const state = room.jobs.state(diskKey(ref));
      if (state !== undefined) return state;
      requireOwnNames(want);
      if ((await markOf(room, ref)) === migrationUid) {
        const record = await room.directories.read(ref);
        if (record !== undefined && JSON.stringify(record) !== JSON.stringify(want.manifest.record))
          throw new DiskStateError(`${describeDisk(ref)} has changed at the source since it was copied`);
        const chain = record && (await chainOf(room, ref, record));
        if (chain !== undefined) return { kind: "ready", chain };
      }
      await makePlace(room, want, signal);
      return room.jobs.start(
        { key: diskKey(ref), uid: ref.uid, tellsProgress: false },
        receptionJob(room, want),
      );
    });

const drop = async (
  room: Room,
  ref: DiskRef,
  { migrationUid }: { readonly migrationUid?: string },
  signal: AbortSignal,
): Promise<void> => {
  const { directories, files } = room;
  const { shared } = directories.pool(ref.pool);
  if (shared || (await files.stat(directories.of(ref))) === undefined) return;
  const names = await files.list(directories.of(ref));
  const isIts = migrationUid === undefined || (await markOf(room, ref)) === migrationUid;
  if (!isIts && !isUnused(names)) return;
  for (const name of names)
    if (name !== RECORD_FILE && name !== MARK)
      await destroy(room, ref.pool, join(directories.of(ref), name), signal);
  // The mark goes last: a record without it would be that of a disk of this node's own.
  await files.remove(join(directories.of(ref), RECORD_FILE));
  await directories.remove(ref);
};

export const createTransfers = (room: Room): VolumeTransfers => ({
  describe: describe(room),
  open: open(room),
  receive: receive(room),
  drop: (ref, what, { signal }) => alone(room, ref, () => drop(room, ref, what, signal)),
  accept: (ref) => alone(room, ref, () => room.files.remove(join(room.directories.of(ref), MARK))),
});
