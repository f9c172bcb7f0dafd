import fc from "fast-check";

import type { Layout } from "../../../src/libvirt/xdr.ts";

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
};

const padded = (bytes: Uint8Array): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

const counted = (items: readonly Buffer[]): Buffer => Buffer.concat([word(items.length), ...items]);
const words = (min: number, max: number): fc.Arbitrary<Buffer> => fc.integer({ min, max }).map(word);
const octets = (length: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => padded(bytes));

/** What the daemon may send as text: UTF-8 that has no NUL. */
const text = fc
  .string({ unit: "grapheme", maxLength: 12 })
  .map((value) => Buffer.from(value.replaceAll("\0", "")))
  .map((bytes) => Buffer.concat([word(bytes.length), padded(bytes)]));

/** Bytes that the .x files allow for the layout, written without the codec that is under test. */
export const bytesOf = (layout: Layout): fc.Arbitrary<Buffer> => {
  switch (layout.kind) {
    case "void":
      return fc.constant(Buffer.alloc(0));
    case "int":
      return words(-0x8000_0000, 0x7fff_ffff);
    case "uint":
      return words(0, 0xffff_ffff);
    case "char":
      return words(0, 0x7f);
    case "uchar":
      return words(0, 0xff);
    case "ushort":
      return words(0, 0xffff);
    case "hyper":
    case "uhyper":
      return octets(8);
    case "double":
      return fc.double({ noNaN: true }).map((value) => {
        const bytes = Buffer.alloc(8);
        bytes.writeDoubleBE(value);
        return bytes;
      });
    case "opaque":
      return octets(layout.length);
    case "bytes":
      return fc
        .uint8Array({ maxLength: 12 })
        .map((bytes) => Buffer.concat([word(bytes.length), padded(bytes)]));
    case "string":
      return text;
    case "optional":
      return fc.option(bytesOf(layout.of)).map((bytes) => counted(bytes === null ? [] : [bytes]));
    case "list":
      return fc.array(bytesOf(layout.of), { maxLength: Math.min(layout.max, 4) }).map(counted);
    case "array":
      return fc
        .array(bytesOf(layout.of), { minLength: layout.length, maxLength: layout.length })
        .map((items) => Buffer.concat(items));
    case "struct":
      return fc
        .tuple(...layout.fields.map(([, field]) => bytesOf(field)))
        .map((fields) => Buffer.concat(fields));
    case "union":
      return fc.oneof(
        ...layout.arms.map(([tag, arm]) => bytesOf(arm).map((bytes) => Buffer.concat([word(tag), bytes]))),
      );
  }
};
