import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { checksum } from "../../api/fields.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { Files } from "../host/files.ts";
import { isUid, uidPath } from "../host/paths.ts";
import { notYetDone, openSnapshot } from "./copy.ts";
import { TRAVERSE_ONLY } from "./directories.ts";
import { describeDisk, DiskStateError } from "./failure.ts";
import type { VolumeExports } from "./index.ts";
import type { JobOptions } from "./jobs.ts";
import { readLayerHeader } from "./layer-header.ts";
import { destroy, type Room } from "./room.ts";
import type { DiskRef, ExportedFile } from "./types.ts";

/**
 * Copies for the image cache, in the pool "local", which the cache is in:
 *
 *   exports/<image uid>/disk.qcow2     the copy; with .new, as far as it has come
 *   exports/<image uid>/export.json    its digest and sizes, when it is whole
 */

const exportRecord = z.object({
  checksum,
  sizeBytes: z.int().min(0),
  virtualSizeBytes: z.int().min(0),
});
type ExportRecord = z.output<typeof exportRecord>;

const MAX_RECORD_BYTES = 4096;

interface Place {
  readonly directory: string;
  readonly disk: string;
  readonly record: string;
}

const placeOf = ({ directories }: Room, imageUid: string): Place => {
  const directory = uidPath(join(directories.pool(LOCAL_POOL).path, "exports"), imageUid);
  return { directory, disk: join(directory, "disk.qcow2"), record: join(directory, "export.json") };
};

const jobKey = (imageUid: string): string => `export/${imageUid}`;

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const readRecord = async (files: Files, { record, disk }: Place): Promise<ExportRecord | undefined> => {
  const text = await files.readText(record, { maxBytes: MAX_RECORD_BYTES });
  if (text === undefined || (await files.stat(disk)) === undefined) return undefined;
  return exportRecord.safeParse(parseJson(text)).data;
};

const digestOf = async (
  files: Files,
  path: string,
  signal: AbortSignal,
): Promise<ExportRecord["checksum"]> => {
  await using file = await files.openForReading(path);
  if (file === undefined) throw new DiskStateError(`${path} has disappeared`);
  const hash = createHash("sha256");
  for await (const chunk of file.chunks()) {
    signal.throwIfAborted();
    hash.update(chunk);
  }
  return `sha256:${hash.digest("hex")}`;
};

interface Export {
  readonly imageUid: string;
  readonly disk: DiskRef;
  readonly snapshotUid: string;
}

const exportJob =
  (room: Room, want: Export) =>
  async (job: JobOptions): Promise<void> => {
    const { files, qemuImg } = room;
    const place = placeOf(room, want.imageUid);
    const unfinished = `${place.disk}.new`;
    await files.ensureDirectory(join(place.directory, ".."), TRAVERSE_ONLY);
    await files.ensureDirectory(place.directory, TRAVERSE_ONLY);
    for (const stale of [unfinished, place.disk]) await destroy(room, LOCAL_POOL, stale, job.signal);
    using source = await openSnapshot(room, want.disk, want.snapshotUid);
    await qemuImg.convert(source.top, unfinished, {
      ...job,
      isCompressed: true,
      onProgress: notYetDone(job),
    });
    const { virtualSizeBytes } = await readLayerHeader(files, unfinished);
    const digest = await digestOf(files, unfinished, job.signal);
    const sizeBytes = (await files.stat(unfinished))?.sizeBytes ?? 0;
    await files.rename(unfinished, place.disk);
    const record: ExportRecord = { checksum: digest, sizeBytes, virtualSizeBytes };
    await files.writeAtomically(place.record, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  };

const isThere = async (room: Room, { disk, snapshotUid }: Export): Promise<boolean> =>
  (await room.directories.read(disk))?.snapshots.some(({ uid }) => uid === snapshotUid) === true;

const ensure =
  (room: Room): VolumeExports["ensure"] =>
  async (want) => {
    const place = placeOf(room, want.imageUid);
    const state = room.jobs.state(jobKey(want.imageUid));
    if (state !== undefined) return state;
    const record = await readRecord(room.files, place);
    if (record !== undefined) {
      const file: ExportedFile = { imageUid: want.imageUid, path: place.disk, ...record };
      return { kind: "ready", file };
    }
    if (!(await isThere(room, want)))
      return {
        kind: "refused",
        reason: "NotFound",
        message: `there is no snapshot ${want.snapshotUid} of ${describeDisk(want.disk)} on this node`,
      };
    return room.jobs.start(
      { key: jobKey(want.imageUid), uid: want.imageUid, tellsProgress: true },
      exportJob(room, want),
    );
  };

const remove = async (room: Room, imageUid: string, signal: AbortSignal): Promise<void> => {
  await room.jobs.cancel(jobKey(imageUid));
  await destroy(room, LOCAL_POOL, placeOf(room, imageUid).directory, signal);
};

export const createExports = (room: Room): VolumeExports => ({
  ensure: ensure(room),
  remove: (imageUid, { signal }) => remove(room, imageUid, signal),
  async list() {
    const directory = join(room.directories.pool(LOCAL_POOL).path, "exports");
    return (await room.files.list(directory)).filter(isUid);
  },
});
