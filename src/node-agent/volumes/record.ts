import { z } from "zod";
import { checksum } from "../../api/fields.ts";

/**
 * disk.json, the truth about one disk: which layers there are, what each stands
 * on, and what was begun. It is read from here and never from the layers: a
 * guest that broke out into QEMU could have written to those.
 */

const uid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

/**
 * The first layer is `base` (`root` when an agent that knew no layers made it);
 * others are named after the snapshot or restore that made them, with a number
 * when that name was taken.
 */
const layerName = z.string().regex(new RegExp(`^(base|root|${uid}(-[0-9]{1,4})?)$`));
const objectUid = z.string().regex(new RegExp(`^${uid}$`));
/** A file of the disk's directory, as layerFile and memoryFile name them. */
const ownFile = z.string().regex(new RegExp(`^((base|root|${uid}(-[0-9]{1,4})?)\\.qcow2|memory/${uid})$`));

const diskRef = z.object({
  pool: z.string(),
  kind: z.enum(["root", "volume"]),
  uid: objectUid,
});

const layer = z.object({
  name: layerName,
  /** The layer that it stands on. Without one it stands on the disk's image, or on nothing. */
  parent: layerName.optional(),
});

const snapshot = z.object({
  uid: objectUid,
  /** The layer that it froze: with what is under it, the disk at that moment. */
  layer: layerName,
  /** Whether the guest's memory is beside it. */
  hasMemory: z.boolean(),
});

/** A new layer that exists or is being made, and is not the head yet. */
const freeze = z.object({
  kind: z.literal("snapshot"),
  uid: objectUid,
  newHead: layerName,
  hasMemory: z.boolean(),
});

const restore = z.object({
  kind: z.literal("restore"),
  uid: objectUid,
  /** The disk whose record decides for all disks of this restore. */
  lead: diskRef,
  newHead: layerName,
  /** The layer that the snapshot froze. */
  onto: layerName,
  oldHead: layerName,
  state: z.enum(["prepared", "switched", "undoing", "finishing"]),
});

/** `run` is what goes, from the top down. */
const merge = z.object({
  kind: z.literal("merge"),
  /** rebase: `top` takes over what the run has, while no guest uses it. pull: the same, live. commit: the lowest of the run takes over what is above it, up to `top`, live. */
  how: z.enum(["rebase", "pull", "commit"]),
  top: layerName,
  run: z.array(layerName).min(1),
  /** What the run stands on. Without it: the image, or nothing. */
  base: layerName.optional(),
});

export const diskRecord = z.object({
  version: z.literal(2),
  /** What the lowest layer stands on. */
  image: z.object({ uid: objectUid, checksum }).optional(),
  /** An image that the disk is being copied from. */
  copiedImageUid: objectUid.optional(),
  layers: z.array(layer),
  /** The layer that the guest writes. Absent before the disk is made, and when it was removed. */
  head: layerName.optional(),
  wasRemoved: z.boolean(),
  snapshots: z.array(snapshot),
  pending: z.discriminatedUnion("kind", [freeze, restore, merge]).optional(),
  /** Files that are no longer part of the disk, to be wiped and deleted. */
  doomed: z.array(ownFile),
  /** Whose data they were, and under which UID: another one than the directory's is an adoption under way. */
  retained: z.object({ uid: objectUid, namespace: z.string(), name: z.string() }).optional(),
});

/** As agents wrote it that knew no layers: a root disk on its image. */
const formerRecord = z.object({ imageUid: objectUid, checksum });

export type DiskRecord = Readonly<z.output<typeof diskRecord>>;
export type Layer = DiskRecord["layers"][number];
export type PendingFreeze = z.output<typeof freeze>;
export type PendingRestore = z.output<typeof restore>;
export type PendingMerge = z.output<typeof merge>;

/** A disk that is going to be made. */
export const newRecord = (from: Pick<DiskRecord, "image" | "copiedImageUid">): DiskRecord => ({
  version: 2,
  ...from,
  layers: [],
  wasRemoved: false,
  snapshots: [],
  doomed: [],
});

/** The layer of a disk that was made before there were layers. */
export const FORMER_LAYER = "root";

const fromFormer = (
  { imageUid, checksum: digest }: z.output<typeof formerRecord>,
  hasFormerLayer: boolean,
): DiskRecord => {
  const empty = newRecord({ image: { uid: imageUid, checksum: digest } });
  return hasFormerLayer ? { ...empty, layers: [{ name: FORMER_LAYER }], head: FORMER_LAYER } : empty;
};

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** The record in a file's text; undefined when it is none. */
export const parseRecord = (
  text: string,
  { hasFormerLayer }: { readonly hasFormerLayer: boolean },
): DiskRecord | undefined => {
  const content = parseJson(text);
  const record = diskRecord.safeParse(content);
  if (record.success) return record.data;
  const former = formerRecord.safeParse(content);
  return former.success ? fromFormer(former.data, hasFormerLayer) : undefined;
};

/** UIDs of the images that a record names. Of a record that cannot be read, all UIDs in it: one of them may be an image's. */
export const imagesNamedIn = (text: string): readonly string[] => {
  const record = parseRecord(text, { hasFormerLayer: false });
  if (record === undefined) return [...text.matchAll(new RegExp(uid, "g"))].map(([found]) => found);
  return [record.image?.uid, record.copiedImageUid].filter((found) => found !== undefined);
};

/** Whether a path below the disk's directory is a layer or memory. */
export const isOwnFile = (path: string): boolean => ownFile.safeParse(path).success;

export const layerFile = (name: string): string => `${name}.qcow2`;
export const memoryFile = (snapshotUid: string): string => `memory/${snapshotUid}`;
