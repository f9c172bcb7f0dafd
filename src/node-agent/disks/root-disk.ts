import { join } from "node:path";
import { z } from "zod";
import { checksum } from "../../api/fields.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { isUid, uidPath } from "../host/paths.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";
import type { StoredImage } from "./image-store.ts";
import { formatBytes } from "./limits.ts";
import { readRecord, writeRecord } from "./record.ts";
import type { RootDisk } from "./types.ts";

/**
 * The root disks of a node:
 *
 *   disks/<vm uid>/root.qcow2   the overlay that the guest writes to
 *   disks/<vm uid>/disk.json    what it starts from, written before the overlay is made
 *
 * What an overlay starts from is read from the record, never from the overlay:
 * a guest that broke out into QEMU could have written there.
 */
export interface RootDisks {
  /** Makes the overlay unless there is one. Throws ImageRefused, or FetchFailed when the node is full. */
  ensure(want: RootDisk, image: StoredImage, options: { readonly signal: AbortSignal }): Promise<string>;
  remove(vmUid: string): Promise<void>;
  /** UIDs of machines that have anything here. */
  list(): Promise<readonly string[]>;
  /** UIDs of the images that disks here start from, finished or not. */
  imagesInUse(): Promise<ReadonlySet<string>>;
}

const diskRecord = z.object({
  imageUid: z.uuid(),
  /** Digest of the image that the overlay was made on. */
  checksum,
});

const MiB = 2 ** 20;
const CREATE_TIMEOUT_MS = 60_000;
const TRAVERSE_ONLY = { mode: 0o711 } as const;
/** libvirt hands it to QEMU's user when the guest starts, and takes it back afterwards. */
const OWNER_ONLY = 0o600;

const requireFit = ({ sizeMiB }: RootDisk, { virtualSizeBytes }: StoredImage): void => {
  if (virtualSizeBytes <= sizeMiB * MiB) return;
  throw new ImageRefused(
    "TooLarge",
    `the disk in the image has ${formatBytes(virtualSizeBytes)}, but the flavor gives ${formatBytes(sizeMiB * MiB)}; choose a flavor with a larger disk`,
  );
};

/** An overlay holds differences: on another content they would be garbage, and the guest's data with them. */
const requireSameImage = (record: z.output<typeof diskRecord>, image: StoredImage): void => {
  if (record.checksum === image.checksum) return;
  throw new ImageRefused(
    "ChecksumMismatch",
    `this machine's disk was made on an image with ${record.checksum}, but the source now serves ${image.checksum}; serve the former file again`,
  );
};

const whenFull = (error: unknown): unknown =>
  error instanceof CommandError && /No space left on device|Disk quota exceeded/.test(error.stderr)
    ? new FetchFailed("NoSpace", "the node's disk is full; free space, or delete images and machines", {
        cause: error,
      })
    : error;

export const createRootDisks = (stateDirectory: string, files: Files, run: RunCommand): RootDisks => {
  const disks = join(stateDirectory, "disks");
  const overlayPath = (vmUid: string): string => uidPath(disks, vmUid, "root.qcow2");
  const recordPath = (vmUid: string): string => uidPath(disks, vmUid, "disk.json");
  const list = async (): Promise<readonly string[]> => (await files.list(disks)).filter(isUid);

  /**
   * Both formats are said, and with -u the image is not even opened: it was
   * examined when it came, by a process with fewer rights than this one.
   * https://qemu.readthedocs.io/en/latest/tools/qemu-img.html (create)
   */
  const create = async (want: RootDisk, image: StoredImage, signal: AbortSignal): Promise<void> => {
    const temporary = `${overlayPath(want.vmUid)}.new`;
    const backing = ["-u", "-b", image.path, "-F", image.format];
    const size = String(want.sizeMiB * MiB);
    await run("qemu-img", ["create", "-q", "-f", "qcow2", ...backing, temporary, size], {
      signal,
      timeoutMs: CREATE_TIMEOUT_MS,
    }).catch((error: unknown) => {
      throw whenFull(error);
    });
    await using overlay = await files.openForWriting(temporary, { mode: OWNER_ONLY });
    await overlay.sync();
    await files.rename(temporary, overlayPath(want.vmUid));
  };

  return {
    list,

    async ensure(want, image, { signal }) {
      const path = overlayPath(want.vmUid);
      const record = await readRecord(files, recordPath(want.vmUid), diskRecord);
      if ((await files.stat(path)) !== undefined) {
        if (record !== undefined) requireSameImage(record, image);
        return path;
      }
      requireFit(want, image);
      await files.ensureDirectory(disks, TRAVERSE_ONLY);
      await files.ensureDirectory(uidPath(disks, want.vmUid), TRAVERSE_ONLY);
      await writeRecord(files, recordPath(want.vmUid), {
        imageUid: want.image.uid,
        checksum: image.checksum,
      });
      await create(want, image, signal);
      return path;
    },

    remove: (vmUid) => files.remove(uidPath(disks, vmUid)),

    async imagesInUse() {
      const inUse = new Set<string>();
      for (const vmUid of await list()) {
        const record = await readRecord(files, recordPath(vmUid), diskRecord);
        if (record !== undefined) inUse.add(record.imageUid);
      }
      return inUse;
    },
  };
};
