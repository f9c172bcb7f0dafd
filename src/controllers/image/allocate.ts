import type { Image } from "../../api/image.ts";
import type { AllocatedImage } from "../../api/virtual-machine.ts";

/**
 * The Image as nodes need it, frozen; undefined while it is still being made out
 * of a disk: other nodes check what they fetch against its checksum, so that it
 * has to be known.
 */
export const allocateImage = ({ metadata, spec, status }: Image): AllocatedImage | undefined => {
  const { url, file } = spec.source;
  const isMadeOfDisk = url === undefined && file === undefined;
  const nodeName = isMadeOfDisk ? status?.origin?.nodeName : undefined;
  const checksum = spec.checksum ?? (isMadeOfDisk ? status?.checksum : undefined);
  if (isMadeOfDisk && (nodeName === undefined || checksum === undefined)) return undefined;
  return {
    name: metadata.name,
    uid: metadata.uid,
    format: spec.format,
    compression: spec.compression,
    ...(url !== undefined && { url }),
    ...(file !== undefined && { file }),
    ...(nodeName !== undefined && { nodeName }),
    ...(checksum !== undefined && { checksum }),
  };
};
