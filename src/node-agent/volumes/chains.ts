import { DamagedDiskError, describeDisk, DiskStateError } from "./failure.ts";
import { type LayerHeader, readLayerHeader } from "./layer-header.ts";
import { layerNamed, pathDown } from "./layers.ts";
import type { DiskRecord } from "./record.ts";
import type { Room } from "./room.ts";
import type { DiskChain, DiskRef, LayerFile } from "./types.ts";

const imageUnder = async (
  { findImage }: Room,
  ref: DiskRef,
  { image }: DiskRecord,
): Promise<LayerFile | undefined> => {
  if (image === undefined) return undefined;
  const found = await findImage(image.uid);
  if (found === undefined)
    throw new DiskStateError(`${describeDisk(ref)}: its image ${image.uid} is not in this node's cache`);
  if (found.checksum !== image.checksum)
    throw new DamagedDiskError(
      `${describeDisk(ref)} was made on an image with ${image.checksum}, but the cache has ${found.checksum} under ${image.uid}`,
    );
  return { path: found.path, format: found.format, isImage: true };
};

export const layerAsFile = ({ directories }: Room, ref: DiskRef, name: string): LayerFile => ({
  path: directories.layer(ref, name),
  format: "qcow2",
  isImage: false,
});

/** What a layer stands on when its parent is this one: a layer, the image, or nothing. */
export const baseFile = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  parent: string | undefined,
): Promise<LayerFile | undefined> =>
  parent === undefined ? imageUnder(room, ref, record) : layerAsFile(room, ref, parent);

/** A layer's file and all those under it, as the record has them. */
export const filesUnder = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  top: string,
): Promise<readonly LayerFile[]> => {
  const image = await imageUnder(room, ref, record);
  const layers = pathDown(record, top).map((name) => layerAsFile(room, ref, name));
  return image === undefined ? layers : [...layers, image];
};

export const headerOf = ({ files, directories }: Room, ref: DiskRef, name: string): Promise<LayerHeader> =>
  readLayerHeader(files, directories.layer(ref, name));

/**
 * Throws DamagedDiskError unless each layer from this one down stands on what
 * the record says. qemu-img follows what is written in the files: it must not
 * be let near one that a guest has broken out to change.
 */
export const requireIntact = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
  top: string,
): Promise<void> => {
  for (const name of pathDown(record, top)) {
    const expected = (await baseFile(room, ref, record, layerNamed(record, name)?.parent))?.path;
    const { backingPath } = await headerOf(room, ref, name);
    if (backingPath !== expected)
      throw new DamagedDiskError(
        `${describeDisk(ref)}: layer ${name} says that it stands on ${backingPath ?? "nothing"}, which is not ${expected ?? "nothing"} as it was made`,
      );
  }
};

/** The disk as a guest is to be given it; undefined when it has no head. */
export const chainOf = async (
  room: Room,
  ref: DiskRef,
  record: DiskRecord,
): Promise<DiskChain | undefined> => {
  if (record.head === undefined) return undefined;
  const [head, ...backing] = await filesUnder(room, ref, record, record.head);
  if (head === undefined)
    throw new DamagedDiskError(`${describeDisk(ref)}: its record names a head that is no layer`);
  const { virtualSizeBytes } = await headerOf(room, ref, record.head);
  return { ref, path: head.path, backing, virtualSizeBytes };
};
