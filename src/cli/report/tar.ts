/** A file of an archive. */
export interface ArchiveFile {
  /** Relative, at most 100 bytes. */
  readonly path: string;
  readonly content: Uint8Array;
}

const BLOCK = 512;
/** Of the archive's files: readable by all, written by none but their owner. */
const MODE = 0o644;

export interface TarOptions {
  /** In which all files are; at most 155 bytes. */
  readonly directory: string;
  readonly modifiedAt: Date;
}

/** A tar archive. https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06 */
export const tar = (files: readonly ArchiveFile[], { directory, modifiedAt }: TarOptions): Buffer =>
  Buffer.concat([
    ...files.flatMap(({ path, content }) => [
      header({ directory, path, size: content.length, modifiedAt }),
      content,
      padding(content.length),
    ]),
    Buffer.alloc(2 * BLOCK),
  ]);

const padding = (length: number): Buffer => Buffer.alloc((BLOCK - (length % BLOCK)) % BLOCK);

const header = ({
  directory,
  path,
  size,
  modifiedAt,
}: TarOptions & { readonly path: string; readonly size: number }): Buffer => {
  const block = Buffer.alloc(BLOCK);
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(directory) > 155)
    throw new RangeError(`${directory}/${path} is too long for an archive`);
  block.write(path, 0);
  writeOctal(block, 100, 8, MODE);
  writeOctal(block, 108, 8, 0);
  writeOctal(block, 116, 8, 0);
  writeOctal(block, 124, 12, size);
  writeOctal(block, 136, 12, Math.floor(modifiedAt.getTime() / 1000));
  // The checksum is that of the block with blanks in its own place.
  block.fill(" ", 148, 156);
  block.write("0", 156);
  block.write("ustar\u000000", 257);
  block.write(directory, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\u0000 `, 148);
  return block;
};

const writeOctal = (block: Buffer, offset: number, length: number, value: number): void => {
  block.write(value.toString(8).padStart(length - 1, "0"), offset);
};
