/** A range of a file; the rest of a file is not looked at here. */
export interface FileRanges {
  readonly sizeBytes: number;
  /** Up to `length` bytes at `offset`; fewer only where the file ends. */
  read(offset: number, length: number): Promise<Buffer>;
}

interface KnownFormat {
  readonly name: string;
  /** What to do with such a file. */
  readonly advice: string;
  /** Where the mark is, in bytes; negative from the end of the file. */
  readonly offset: number;
  readonly mark: Buffer;
}

const CONVERT = "convert it with qemu-img convert -O qcow2";
const UNPACK = "set spec.compression of the Image, or unpack it";

const known = (
  name: string,
  advice: string,
  offset: number,
  mark: string | readonly number[],
): KnownFormat => ({
  name,
  advice,
  offset,
  mark: typeof mark === "string" ? Buffer.from(mark, "latin1") : Buffer.from(mark),
});

/**
 * Marks of the formats that QEMU's own guessing would find, of compressed
 * files, and of the web pages that servers send instead of files.
 * No boot sector or partition table starts with one of these.
 */
const knownFormats: readonly KnownFormat[] = [
  known("qcow2", 'set spec.format of the Image to "qcow2"', 0, [0x51, 0x46, 0x49, 0xfb]),
  known("VMDK", CONVERT, 0, "KDMV"),
  known("VMDK", CONVERT, 0, "COWD"),
  known("VMDK descriptor", CONVERT, 0, "# Disk DescriptorFile"),
  known("VHDX", CONVERT, 0, "vhdxfile"),
  known("VHD", CONVERT, 0, "conectix"),
  known("VHD", CONVERT, -512, "conectix"),
  known("VDI", CONVERT, 0x40, [0x7f, 0x10, 0xda, 0xbe]),
  known("QED", CONVERT, 0, [0x51, 0x45, 0x44, 0x00]),
  known("Parallels", CONVERT, 0, "WithoutFreeSpace"),
  known("Parallels", CONVERT, 0, "WithouFreSpacExt"),
  known("Bochs", CONVERT, 0, "Bochs Virtual HD Image"),
  known("cloop", CONVERT, 0, "#!/bin/sh\n#V2.0 Format"),
  known("DMG", CONVERT, -512, "koly"),
  known("LUKS (encrypted)", "decrypt it first", 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]),
  known("gzip", UNPACK, 0, [0x1f, 0x8b]),
  known("xz", UNPACK, 0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
  known("Zstandard", UNPACK, 0, [0x28, 0xb5, 0x2f, 0xfd]),
  known("bzip2", "unpack it", 0, "BZh"),
  known("ZIP", "unpack it", 0, [0x50, 0x4b, 0x03, 0x04]),
  known("7-Zip", "unpack it", 0, [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]),
  known("web page", "check the URL: the server sends a page instead of a file", 0, "<!DOCTYPE"),
  known("web page", "check the URL: the server sends a page instead of a file", 0, "<!doctype"),
  known("web page", "check the URL: the server sends a page instead of a file", 0, "<html"),
];

const HEAD_BYTES = 512;

/** The format that the file's own mark claims, other than a raw disk; undefined when it claims none. */
export const claimedFormat = async (
  file: FileRanges,
): Promise<Pick<KnownFormat, "name" | "advice"> | undefined> => {
  const head = await file.read(0, HEAD_BYTES);
  const tail = await file.read(Math.max(0, file.sizeBytes - HEAD_BYTES), HEAD_BYTES);
  return knownFormats.find(({ offset, mark }) => {
    const [part, start] = offset < 0 ? [tail, tail.length + offset] : [head, offset];
    return start >= 0 && part.subarray(start, start + mark.length).equals(mark);
  });
};
