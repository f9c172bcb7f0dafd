import { XdrError, XdrReader, XdrWriter } from "./xdr-buffer.ts";

export { XdrError } from "./xdr-buffer.ts";

/**
 * What is on the wire, as plain data: what libvirt's .x files say about the
 * same value. Only a test reads it; encoding and decoding do not depend on it.
 */
export type Layout =
  | { readonly kind: "void" | "int" | "uint" | "char" | "uchar" | "ushort" | "hyper" | "uhyper" | "double" }
  | { readonly kind: "opaque"; readonly length: number }
  | { readonly kind: "bytes"; readonly max: number }
  | { readonly kind: "string"; readonly max: number }
  | { readonly kind: "optional"; readonly of: Layout }
  | { readonly kind: "list"; readonly of: Layout; readonly max: number }
  | { readonly kind: "array"; readonly of: Layout; readonly length: number }
  | { readonly kind: "struct"; readonly fields: readonly (readonly [name: string, layout: Layout])[] }
  | { readonly kind: "union"; readonly arms: readonly (readonly [tag: number, layout: Layout])[] };

/** How values of T are read from XDR. */
export interface ReadableXdr<T> {
  readonly layout: Layout;
  readonly read: (reader: XdrReader) => T;
}

/** How values of T are written to and read from XDR. https://www.rfc-editor.org/rfc/rfc4506 */
export interface Xdr<T> extends ReadableXdr<T> {
  readonly write: (writer: XdrWriter, value: T) => void;
}

/** The largest message that libvirt has ever accepted: VIR_NET_MESSAGE_PAYLOAD_MAX. */
export const PAYLOAD_MAX_BYTES = 33_554_408;

export const encode = <T>(xdr: Xdr<T>, value: T, maxBytes: number = PAYLOAD_MAX_BYTES): Buffer => {
  const writer = new XdrWriter(maxBytes);
  xdr.write(writer, value);
  return writer.finish();
};

/** Reads a value that takes up all of `bytes`. */
export const decode = <T>(xdr: ReadableXdr<T>, bytes: Buffer): T => {
  const reader = new XdrReader(bytes);
  const value = xdr.read(reader);
  reader.finish();
  return value;
};

/** Runs `action` and names the field in what it throws. */
const within = <T>(field: string, action: () => T): T => {
  try {
    return action();
  } catch (error) {
    throw error instanceof XdrError ? new XdrError(error.problem, [field, ...error.path]) : error;
  }
};

const checkInteger = (value: number, min: number, max: number): void => {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new XdrError(`${value} is not an integer from ${min} to ${max}`);
  }
};

type Narrow = "int" | "uint" | "char" | "uchar" | "ushort";

/** An integer of at most 32 bits; the narrower ones take four bytes as well. */
const integer = (kind: Narrow, min: number, max: number): Xdr<number> => ({
  layout: { kind },
  write: (writer, value) => {
    checkInteger(value, min, max);
    writer.append(4, (buffer, offset) => buffer.writeInt32BE(Math.trunc(value) | 0, offset));
  },
  read: (reader) => {
    const value = reader.take(4, (buffer, offset) =>
      min < 0 ? buffer.readInt32BE(offset) : buffer.readUInt32BE(offset),
    );
    checkInteger(value, min, max);
    return value;
  },
});

export const int = integer("int", -0x8000_0000, 0x7fff_ffff);
export const uint = integer("uint", 0, 0xffff_ffff);
export const char = integer("char", -0x80, 0x7f);
export const uchar = integer("uchar", 0, 0xff);
export const ushort = integer("ushort", 0, 0xffff);

const wide = (kind: "hyper" | "uhyper", min: bigint, max: bigint): Xdr<bigint> => ({
  layout: { kind },
  write: (writer, value) => {
    if (value < min || value > max) throw new XdrError(`${value} is not an integer from ${min} to ${max}`);
    writer.append(8, (buffer, offset) => buffer.writeBigUInt64BE(BigInt.asUintN(64, value), offset));
  },
  read: (reader) =>
    reader.take(8, (buffer, offset) =>
      min < 0n ? buffer.readBigInt64BE(offset) : buffer.readBigUInt64BE(offset),
    ),
});

export const hyper = wide("hyper", -(2n ** 63n), 2n ** 63n - 1n);
export const uhyper = wide("uhyper", 0n, 2n ** 64n - 1n);

export const double: Xdr<number> = {
  layout: { kind: "double" },
  write: (writer, value) => writer.append(8, (buffer, offset) => buffer.writeDoubleBE(value, offset)),
  read: (reader) => reader.take(8, (buffer, offset) => buffer.readDoubleBE(offset)),
};

/** No bytes at all: procedures without arguments or without a result. */
export const nothing: Xdr<void> = { layout: { kind: "void" }, write: () => {}, read: () => {} };

/** Exactly `length` bytes. */
export const opaque = (length: number): Xdr<Buffer> => ({
  layout: { kind: "opaque", length },
  write: (writer, value) => {
    if (value.length !== length) throw new XdrError(`${value.length} bytes instead of ${length}`);
    writer.appendPadded(value);
  },
  read: (reader) => Buffer.from(reader.takePadded(length)),
});

/** Up to `max` bytes, preceded by their number. */
export const bytes = (max: number): Xdr<Buffer> => ({
  layout: { kind: "bytes", max },
  write: (writer, value) => {
    if (value.length > max) throw new XdrError(`${value.length} bytes exceed ${max}`);
    uint.write(writer, value.length);
    writer.appendPadded(value);
  },
  read: (reader) => {
    const length = uint.read(reader);
    if (length > max) throw new XdrError(`${length} bytes exceed ${max}`);
    return Buffer.from(reader.takePadded(length));
  },
});

/**
 * Text of at most `max` bytes in UTF-8.
 *
 * The daemon's strings end at the first NUL, so a text that has one would
 * arrive cut, and a lone surrogate would arrive as something else: both are
 * refused. What the daemon sends may be any bytes; what is not UTF-8 in it
 * reads as U+FFFD.
 */
export const string = (max: number): Xdr<string> => ({
  layout: { kind: "string", max },
  write: (writer, value) => {
    if (!value.isWellFormed()) throw new XdrError("text has a lone surrogate");
    if (value.includes("\0")) throw new XdrError("text has a NUL character");
    const bytes = Buffer.from(value, "utf8");
    if (bytes.length > max) throw new XdrError(`${bytes.length} bytes of text exceed ${max}`);
    uint.write(writer, bytes.length);
    writer.appendPadded(bytes);
  },
  read: (reader) => {
    const length = uint.read(reader);
    if (length > max) throw new XdrError(`${length} bytes of text exceed ${max}`);
    return reader.takePadded(length).toString("utf8");
  },
});

/** A value that may be absent: a pointer in the .x files. */
export const optional = <T>(of: Xdr<T>): Xdr<T | undefined> => ({
  layout: { kind: "optional", of: of.layout },
  write: (writer, value) => {
    uint.write(writer, value === undefined ? 0 : 1);
    if (value !== undefined) of.write(writer, value);
  },
  read: (reader) => {
    const present = uint.read(reader);
    if (present > 1) throw new XdrError(`${present} says neither present nor absent`);
    return present === 1 ? of.read(reader) : undefined;
  },
});

const readItems = <T>(reader: XdrReader, of: Xdr<T>, count: number): T[] => {
  const items: T[] = [];
  // Grows as items are really there: a count alone makes nothing large.
  for (let index = 0; index < count; index += 1) {
    items.push(within(`[${index}]`, () => of.read(reader)));
  }
  return items;
};

const writeItems = <T>(writer: XdrWriter, of: Xdr<T>, items: readonly T[]): void => {
  for (const [index, item] of items.entries()) within(`[${index}]`, () => of.write(writer, item));
};

/** Up to `max` values, preceded by their number. */
export const list = <T>(of: Xdr<T>, max: number): Xdr<readonly T[]> => ({
  layout: { kind: "list", of: of.layout, max },
  write: (writer, items) => {
    if (items.length > max) throw new XdrError(`${items.length} items exceed ${max}`);
    uint.write(writer, items.length);
    writeItems(writer, of, items);
  },
  read: (reader) => {
    const count = uint.read(reader);
    if (count > max) throw new XdrError(`${count} items exceed ${max}`);
    return readItems(reader, of, count);
  },
});

/** Exactly `length` values. */
export const array = <T>(of: Xdr<T>, length: number): Xdr<readonly T[]> => ({
  layout: { kind: "array", of: of.layout, length },
  write: (writer, items) => {
    if (items.length !== length) throw new XdrError(`${items.length} items instead of ${length}`);
    writeItems(writer, of, items);
  },
  read: (reader) => readItems(reader, of, length),
});

/** Named values one after the other, in the order of `fields`. */
export const struct = <T extends object>(fields: { readonly [K in keyof T]: Xdr<T[K]> }): Xdr<
  Readonly<T>
> => {
  const entries = Object.entries<Xdr<unknown>>(fields as Readonly<Record<string, Xdr<unknown>>>);
  return {
    layout: { kind: "struct", fields: entries.map(([name, field]) => [name, field.layout] as const) },
    write: (writer, value) => {
      const values = value as Readonly<Record<string, unknown>>;
      for (const [name, field] of entries) within(name, () => field.write(writer, values[name]));
    },
    read: (reader) =>
      Object.fromEntries(entries.map(([name, field]) => [name, within(name, () => field.read(reader))])) as T,
  };
};

/** One of several values, chosen by the integer before it. */
export const union = <T>(
  arms: ReadonlyMap<number, Xdr<T>>,
): Xdr<{ readonly tag: number; readonly value: T }> => {
  const arm = (tag: number): Xdr<T> => {
    const found = arms.get(tag);
    if (found === undefined) throw new XdrError(`${tag} is none of ${[...arms.keys()].join(", ")}`);
    return found;
  };
  return {
    layout: { kind: "union", arms: [...arms].map(([tag, xdr]) => [tag, xdr.layout] as const) },
    write: (writer, { tag, value }) => {
      const chosen = arm(tag);
      int.write(writer, tag);
      chosen.write(writer, value);
    },
    read: (reader) => {
      const tag = int.read(reader);
      return { tag, value: arm(tag).read(reader) };
    },
  };
};

/** The same bytes as another type. `from` and `to` throw XdrError for what does not fit. */
export const mapped = <T, U>(xdr: Xdr<T>, from: (value: T) => U, to: (value: U) => T): Xdr<U> => ({
  layout: xdr.layout,
  write: (writer, value) => xdr.write(writer, to(value)),
  read: (reader) => from(xdr.read(reader)),
});
