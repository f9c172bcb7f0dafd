import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { domainEvents } from "../../../src/libvirt/events.ts";
import { procedures } from "../../../src/libvirt/procedures.ts";
import { domain, errorReply, fixedText, typedParameters, uuid } from "../../../src/libvirt/shapes.ts";
import {
  array,
  char,
  decode,
  double,
  encode,
  hyper,
  int,
  list,
  nothing,
  opaque,
  optional,
  string,
  struct,
  uchar,
  uhyper,
  uint,
  union,
  ushort,
  XdrError,
  type ReadableXdr,
  type Xdr,
} from "../../../src/libvirt/xdr.ts";
import { bytesOf } from "./bytes-of-layout.ts";

const hex = (bytes: Buffer): string => bytes.toString("hex");
const fromHex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

interface Example<T> {
  readonly sentence: string;
  readonly xdr: Xdr<T>;
  readonly value: T;
  readonly bytes: string;
}

/** Checks the types of an example, and forgets them for the table. */
const example = <T>(sentence: string, xdr: Xdr<T>, value: T, bytes: string): Example<unknown> => ({
  sentence,
  xdr: xdr as unknown as Xdr<unknown>,
  value,
  bytes,
});

describe("the encoding is that of RFC 4506", () => {
  const pair = struct({ id: int, name: string(8) });
  test.each([
    example("nothing takes no bytes", nothing, undefined, ""),
    example("an int is four bytes, big end first", int, 258, "00000102"),
    example("a negative int is its two's complement", int, -2, "fffffffe"),
    example("an unsigned int has its high bit for itself", uint, 0xffff_ffff, "ffffffff"),
    example("a char takes four bytes", char, -1, "ffffffff"),
    example("an unsigned char takes four bytes", uchar, 255, "000000ff"),
    example("an unsigned short takes four bytes", ushort, 65_535, "0000ffff"),
    example("a hyper is eight bytes", hyper, -1n, "ffffffffffffffff"),
    example("an unsigned hyper passes 2^53", uhyper, 2n ** 63n, "8000000000000000"),
    example("a double is IEEE 754", double, 1.5, "3ff8000000000000"),
    example("opaque bytes are filled up to four", opaque(3), Buffer.from([1, 2, 3]), "01020300"),
    example("a string has its length in bytes", string(9), "é", "00000002 c3a90000"),
    example("an empty string is a length", string(9), "", "00000000"),
    example("an absent value is a zero", optional(int), undefined, "00000000"),
    example("a present value follows a one", optional(int), 7, "00000001 00000007"),
    example("a list has its count", list(int, 5), [1, 2], "00000002 00000001 00000002"),
    example("a fixed array has none", array(int, 2), [1, 2], "00000001 00000002"),
    example("a struct is its fields", pair, { id: 1, name: "ab" }, "00000001 00000002 61620000"),
    example(
      "a union begins with its tag",
      union(new Map([[4, int]])),
      { tag: 4, value: 9 },
      "00000004 00000009",
    ),
  ])("$sentence", ({ xdr, value, bytes }) => {
    expect(hex(encode(xdr, value))).toBe(bytes.replaceAll(" ", ""));
    expect(decode(xdr, fromHex(bytes))).toEqual(value);
  });
});

describe("values of libvirt read as one would write them", () => {
  const id = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0";

  test("a UUID is dashed and lower-case", () => {
    expect(decode(uuid, encode(uuid, id.toUpperCase()))).toBe(id);
  });

  test("the CPU model ends at its first NUL", () => {
    const model = fixedText(32);
    const bytes = encode(model, "x86_64");
    expect(bytes).toHaveLength(128);
    expect(decode(model, bytes)).toBe("x86_64");
  });

  test.each([
    ["an int", 42],
    ["a number beyond int", 3_000_000_000],
    ["a number beyond unsigned int", 5_000_000_000],
    ["a fraction", 0.5],
    ["minus zero", -0],
    ["a 64-bit integer", 2n ** 60n],
    ["a negative 64-bit integer", -(2n ** 60n)],
    ["text", "käse"],
    ["a truth", true],
  ])("a typed parameter keeps %s", (_, value) => {
    const parameters = typedParameters(3);
    const values = new Map([["some.field", value]]);
    expect(decode(parameters, encode(parameters, values))).toEqual(values);
  });

  test("a parameter named like a property of objects is only a name", () => {
    const parameters = typedParameters(3);
    const decoded = decode(parameters, encode(parameters, new Map([["__proto__", 1]])));
    expect([...decoded]).toEqual([["__proto__", 1]]);
  });

  test("an error without a message is readable", () => {
    const bytes = Buffer.concat([fromHex("0000002a 0000000a 00000000 00000002"), Buffer.alloc(28)]);
    expect(decode(errorReply, bytes)).toEqual({ code: 42, domain: 10, level: 2, message: "" });
  });
});

describe("what cannot be sent is refused, with the field's name", () => {
  const dom = { name: "a", uuid: "4dea22b3-1d52-d8f3-2516-782e98ab3fa0", id: 1 };
  const define = procedures.domainDefineXmlFlags.args;
  test.each([
    ["an int that is too large", () => encode(int, 2 ** 31), "2147483648 is not an integer"],
    ["a fraction", () => encode(int, 0.5), "0.5 is not an integer"],
    ["NaN", () => encode(uint, Number.NaN), "NaN is not an integer"],
    ["negative flags", () => encode(define, { xml: "", flags: -1 }), "flags: -1 is not an integer"],
    ["a hyper that is too large", () => encode(hyper, 2n ** 63n), "is not an integer"],
    ["a negative unsigned hyper", () => encode(uhyper, -1n), "-1 is not an integer"],
    ["text with a NUL", () => encode(define, { xml: "<a/>\0", flags: 0 }), "xml: text has a NUL character"],
    ["text with a lone surrogate", () => encode(define, { xml: "\ud800", flags: 0 }), "xml: text has a lone"],
    ["text that is too long", () => encode(string(3), "éé"), "4 bytes of text exceed 3"],
    ["too many items", () => encode(list(int, 1), [1, 2]), "2 items exceed 1"],
    ["too few items", () => encode(array(int, 2), [1]), "1 items instead of 2"],
    ["opaque bytes of another length", () => encode(opaque(2), Buffer.alloc(3)), "3 bytes instead of 2"],
    [
      "what is no UUID",
      () => encode(domain, { ...dom, uuid: "../../etc" }),
      'uuid: "../../etc" is not a UUID',
    ],
    ["a UUID without dashes", () => encode(uuid, "4dea22b31d52d8f32516782e98ab3fa0"), "is not a UUID"],
    ["an unknown tag", () => encode(union(new Map([[1, int]])), { tag: 2, value: 1 }), "2 is none of 1"],
    ["a CPU model that does not fit", () => encode(fixedText(4), "abcde"), "5 bytes of text exceed 4"],
    ["a message over the limit", () => encode(string(99), "abcdefghi", 12), "message exceeds 12 bytes"],
  ])("%s", (_, action, message) => {
    expect(action).toThrow(XdrError);
    expect(action).toThrow(message);
  });
});

const refuse = <T>(sentence: string, xdr: Xdr<T>, bytes: string, message: string) => ({
  sentence,
  xdr: xdr as ReadableXdr<unknown>,
  bytes,
  message,
});

describe("bytes that are not the expected XDR are refused", () => {
  const deep = struct({ outer: list(struct({ inner: string(4) }), 4) });
  test.each([
    refuse("too few bytes", int, "000000", "ends 1 bytes too early"),
    refuse("too many bytes", int, "00000000 00", "1 bytes are left over"),
    refuse("a char out of its range", uchar, "00000100", "256 is not an integer from 0 to 255"),
    refuse("a presence that is no truth", optional(int), "00000002 00000000", "neither present nor absent"),
    refuse("a string over its limit", string(4), "00000005 6161616161000000", "5 bytes of text exceed 4"),
    refuse("a string longer than the message", string(999), "000000ff 61616161", "too early"),
    refuse("padding that is not zero", string(4), "00000001 61000001", "padding is not zero"),
    refuse("a list over its limit", list(int, 2), "00000003", "3 items exceed 2"),
    refuse("a list that promises more than there is", list(int, 9), "00000009 00000000", "[1]: ends 4 bytes"),
    refuse("an unknown tag", union(new Map([[1, int]])), "00000009 00000000", "9 is none of 1"),
    refuse(
      "with the path to the field",
      deep,
      "00000001 00000009",
      "outer.[0].inner: 9 bytes of text exceed 4",
    ),
  ])("$sentence", ({ xdr, bytes, message }) => {
    expect(() => decode(xdr, fromHex(bytes))).toThrow(XdrError);
    expect(() => decode(xdr, fromHex(bytes))).toThrow(message);
  });
});

const everyShape = [
  ...Object.values(procedures).flatMap(({ name, args, result }) => [
    [`the arguments of ${name}`, args as unknown as Xdr<unknown>] as const,
    [`the result of ${name}`, result as unknown as Xdr<unknown>] as const,
  ]),
  ["an error", errorReply as unknown as Xdr<unknown>] as const,
];

describe.each(everyShape)("%s", (_, xdr) => {
  test("reads again as it was written", () => {
    fc.assert(
      fc.property(bytesOf(xdr.layout), (bytes) => {
        const value = decode(xdr, bytes);
        expect(decode(xdr, encode(xdr, value))).toEqual(value);
      }),
      { numRuns: 25 },
    );
  });

  test("is refused when it ends early or when anything follows", () => {
    fc.assert(
      fc.property(bytesOf(xdr.layout), fc.nat(), (bytes, cut) => {
        expect(() => decode(xdr, Buffer.concat([bytes, Buffer.alloc(4)]))).toThrow(XdrError);
        if (bytes.length > 0) {
          expect(() => decode(xdr, bytes.subarray(0, cut % bytes.length))).toThrow(XdrError);
        }
      }),
      { numRuns: 25 },
    );
  });

  test("is a value or an XdrError when it is any bytes at all", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          decode(xdr, Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(XdrError);
        }
      }),
      { numRuns: 25 },
    );
  });
});

describe.each(Object.entries(domainEvents))("the event %s", (_, { message: { body } }) => {
  test("can be read, whatever the daemon may send in it", () => {
    fc.assert(
      fc.property(bytesOf(body.layout), (bytes) => {
        expect(decode<unknown>(body, bytes)).toEqual(expect.any(Object));
      }),
      { numRuns: 25 },
    );
  });
});
