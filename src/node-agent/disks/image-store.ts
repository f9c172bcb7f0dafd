import { join } from "node:path";
import { z } from "zod";
import { checksum } from "../../api/fields.ts";
import { imageFormats } from "../../api/image.ts";
import type { Files } from "../host/files.ts";
import { isUid, uidPath } from "../host/paths.ts";
import { readRecord, writeRecord } from "./record.ts";
import type { BackingImage } from "./types.ts";

/**
 * The images of a node as they lie on its disk:
 *
 *   images/<uid>/disk.<format>    the image: checked, durable, read-only
 *   images/<uid>/image.json       what was found out about it; its time is that of the last use
 *   images/.incoming/<uid>/       an image on its way in: the download, what is known of it, the
 *                                 unpacked content, and "ready", which becomes images/<uid>
 *   images/.removed/<uid>/        an image on its way out
 *
 * A directory is renamed into its place when all that belongs in it is there,
 * and out of it before any of that goes: an image is there as a whole or not at all.
 */
export interface ImageStore {
  /** Makes the directories, and finishes publishing and removing that was cut short. */
  prepare(): Promise<void>;
  /** UIDs of what is published, whole or not. */
  list(): Promise<readonly string[]>;
  /** UIDs of what is half-made. */
  listIncoming(): Promise<readonly string[]>;
  /** The published image; undefined when there is none, or when it is not whole. */
  find(uid: string): Promise<StoredImage | undefined>;
  /** Paths for making an image; the directory is made. */
  incoming(uid: string): Promise<IncomingPaths>;
  /** Makes the file the published image, and removes what else came in for it. */
  publish(uid: string, facts: ImageFacts, disk: string): Promise<StoredImage>;
  /** Whether a later attempt can go on from what has come. */
  isResumable(uid: string): Promise<boolean>;
  removeIncoming(uid: string): Promise<void>;
  remove(uid: string): Promise<void>;
  /** Writes down that the image is used now. */
  touch(uid: string, at: Date): Promise<void>;
  /** Bytes that may still be written where images are. */
  availableBytes(): Promise<number>;
}

const imageFacts = z.object({
  format: z.enum(imageFormats),
  virtualSizeBytes: z.int().min(0),
  /** SHA-256 of the file as it was served. */
  checksum,
});

export type ImageFacts = Readonly<z.output<typeof imageFacts>>;

export interface StoredImage extends ImageFacts, BackingImage {
  readonly uid: string;
  /** Bytes on disk. */
  readonly sizeBytes: number;
  readonly lastUsedAt: Date;
}

export interface IncomingPaths {
  /** The file as it is served. */
  readonly download: string;
  /** How far the download is. */
  readonly downloadRecord: string;
  /** The content of a download that is compressed. */
  readonly unpacked: string;
}

/** QEMU's user must reach the images; nobody but root needs to list them. */
const TRAVERSE_ONLY = { mode: 0o711 } as const;
/** No process changes an image, not even root's by mistake: guests share it. */
const READ_ONLY = 0o444;

export const createImageStore = (stateDirectory: string, files: Files): ImageStore => {
  const published = join(stateDirectory, "images");
  const incomingRoot = join(published, ".incoming");
  const removedRoot = join(published, ".removed");
  const downloadRecordPath = (uid: string): string => uidPath(incomingRoot, uid, "download.json");
  const recordPath = (uid: string): string => uidPath(published, uid, "image.json");

  const find: ImageStore["find"] = async (uid) => {
    const facts = await readRecord(files, recordPath(uid), imageFacts);
    if (facts === undefined) return undefined;
    const path = uidPath(published, uid, `disk.${facts.format}`);
    const [disk, record] = await Promise.all([files.stat(path), files.stat(recordPath(uid))]);
    if (disk?.kind !== "file" || record === undefined) return undefined;
    return { ...facts, uid, path, sizeBytes: disk.allocatedBytes, lastUsedAt: record.modifiedAt };
  };

  const removeIncoming: ImageStore["removeIncoming"] = (uid) => files.remove(uidPath(incomingRoot, uid));
  const listIncoming = async (): Promise<readonly string[]> => (await files.list(incomingRoot)).filter(isUid);

  const remove: ImageStore["remove"] = async (uid) => {
    const here = uidPath(published, uid);
    if ((await files.stat(here)) === undefined) return;
    const away = uidPath(removedRoot, uid);
    await files.remove(away);
    await files.rename(here, away);
    await files.remove(away);
  };

  return {
    find,
    remove,

    async prepare() {
      for (const directory of [published, incomingRoot, removedRoot])
        await files.ensureDirectory(directory, TRAVERSE_ONLY);
      for (const name of await files.list(removedRoot)) await files.remove(join(removedRoot, name));
      for (const uid of await listIncoming()) if ((await find(uid)) !== undefined) await removeIncoming(uid);
    },

    list: async () => (await files.list(published)).filter(isUid),
    listIncoming,

    async incoming(uid) {
      await files.ensureDirectory(uidPath(incomingRoot, uid), TRAVERSE_ONLY);
      return {
        download: uidPath(incomingRoot, uid, "download"),
        downloadRecord: downloadRecordPath(uid),
        unpacked: uidPath(incomingRoot, uid, "unpacked"),
      };
    },

    async publish(uid, facts, disk) {
      const ready = uidPath(incomingRoot, uid, "ready");
      const path = join(ready, `disk.${facts.format}`);
      await files.remove(ready);
      await files.ensureDirectory(ready, TRAVERSE_ONLY);
      await files.rename(disk, path);
      await using sealed = await files.openForWriting(path, { mode: READ_ONLY });
      await sealed.sync();
      await writeRecord(files, join(ready, "image.json"), facts);
      // What is there now is not whole, or it would have been found.
      await remove(uid);
      await files.rename(ready, uidPath(published, uid));
      await removeIncoming(uid);
      const stored = await find(uid);
      if (stored === undefined) throw new Error(`image ${uid} is gone right after it was published`);
      return stored;
    },

    isResumable: async (uid) => (await files.stat(downloadRecordPath(uid))) !== undefined,
    removeIncoming,
    touch: (uid, at) => files.touch(recordPath(uid), at),
    availableBytes: async () => (await files.space(published)).availableBytes,
  };
};
