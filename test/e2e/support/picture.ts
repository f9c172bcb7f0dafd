import { inflateSync } from "node:zlib";

/** What a screen shows. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Colours as 0xRRGGBB, row by row. */
  readonly pixels: Uint32Array;
}

const SIGNATURE = Buffer.from("\u0089PNG\r\n\u001a\n", "latin1");
/** Bytes of a pixel, by the header's colour type. */
const channelsOf: Readonly<Record<number, number>> = { 2: 3, 6: 4 };

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

const chunksOf = (png: Buffer): readonly Chunk[] => {
  if (!png.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw new Error("not a PNG");
  const chunks: Chunk[] = [];
  for (let at = SIGNATURE.length; at < png.length;) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    chunks.push({ type, data: png.subarray(at + 8, at + 8 + length) });
    // Length, type and checksum are four bytes each.
    at += length + 12;
  }
  return chunks;
};

/** https://www.w3.org/TR/png/#9Filter-type-4-Paeth */
const paeth = (left: number, above: number, aboveLeft: number): number => {
  const estimate = left + above - aboveLeft;
  const [a, b, c] = [left, above, aboveLeft].map((value) => Math.abs(estimate - value)) as [
    number,
    number,
    number,
  ];
  if (a <= b && a <= c) return left;
  return b <= c ? above : aboveLeft;
};

/** What each filter adds to a byte. https://www.w3.org/TR/png/#9Filters */
const filters: readonly ((left: number, above: number, aboveLeft: number) => number)[] = [
  () => 0,
  (left) => left,
  (_left, above) => above,
  (left, above) => Math.floor((left + above) / 2),
  paeth,
];

/** Takes the filters back, row by row, in place. */
const unfilter = (rows: readonly Buffer[], channels: number): void => {
  for (const [index, row] of rows.entries()) {
    const filter = filters[row[0] ?? 0];
    if (filter === undefined) throw new Error(`the PNG has a filter ${row[0]}, which there is not`);
    const above = rows[index - 1];
    for (let at = 1; at < row.length; at += 1) {
      const isFirst = at <= channels;
      const left = isFirst ? 0 : (row[at - channels] ?? 0);
      const aboveLeft = isFirst ? 0 : (above?.[at - channels] ?? 0);
      row[at] = ((row[at] ?? 0) + filter(left, above?.[at] ?? 0, aboveLeft)) % 256;
    }
  }
};

/** Reads a PNG of 8 bits a channel, which is what QEMU makes. Throws when it is another one. */
export const readPng = (png: Buffer): Picture => {
  const chunks = chunksOf(png);
  const header = chunks.find(({ type }) => type === "IHDR")?.data ?? Buffer.alloc(13);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const [depth, colourType = 0, , , interlaced] = header.subarray(8);
  const channels = channelsOf[colourType];
  if (depth !== 8 || channels === undefined || interlaced !== 0)
    throw new Error(`a PNG of ${depth} bits, colour type ${colourType}, interlaced ${interlaced}`);
  const data = inflateSync(
    Buffer.concat(chunks.filter(({ type }) => type === "IDAT").map((one) => one.data)),
  );
  const stride = 1 + width * channels;
  const rows = Array.from({ length: height }, (_, row) => data.subarray(row * stride, (row + 1) * stride));
  unfilter(rows, channels);
  const pixels = new Uint32Array(width * height);
  for (const [y, row] of rows.entries())
    for (let x = 0; x < width; x += 1) pixels[y * width + x] = row.readUIntBE(1 + x * channels, 3);
  return { width, height, pixels };
};
