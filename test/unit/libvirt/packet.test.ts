import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { ProtocolError } from "../../../src/libvirt/errors.ts";
import {
  encodePacket,
  PacketReader,
  PacketStatus,
  PacketType,
  Program,
  type PacketHeader,
} from "../../../src/libvirt/packet.ts";

const header: PacketHeader = {
  program: Program.REMOTE,
  procedure: 212,
  type: PacketType.REPLY,
  serial: 7,
  status: PacketStatus.OK,
};

interface Seen extends PacketHeader {
  readonly payload: string;
}

/** Reads chunks to their end; payloads are views, so they are copied at once. */
const read = (chunks: Iterable<Uint8Array>, reader = new PacketReader()): Seen[] => {
  const seen: Seen[] = [];
  for (const chunk of chunks) {
    for (const packet of reader.push(chunk))
      seen.push({ ...packet, payload: packet.payload.toString("hex") });
  }
  return seen;
};

/** A reply with descriptors: their number before the payload, a byte for each behind the frame. */
const withDescriptors = (count: number, payload: Uint8Array): Buffer => {
  const counted = Buffer.alloc(4);
  counted.writeUInt32BE(count);
  const frame = encodePacket(
    { ...header, type: PacketType.REPLY_WITH_FDS },
    Buffer.concat([counted, payload]),
  );
  return Buffer.concat([frame, Buffer.alloc(count)]);
};

const stream = Buffer.concat([
  encodePacket(header, Buffer.from("aabb", "hex")),
  withDescriptors(3, Buffer.from("ccdd", "hex")),
  encodePacket({ ...header, serial: 8 }, Buffer.alloc(0)),
  encodePacket({ ...header, type: PacketType.MESSAGE, serial: 0 }, Buffer.alloc(5000, 0xee)),
]);
const packets: Seen[] = [
  { ...header, payload: "aabb" },
  { ...header, type: PacketType.REPLY_WITH_FDS, payload: "ccdd" },
  { ...header, serial: 8, payload: "" },
  { ...header, type: PacketType.MESSAGE, serial: 0, payload: "ee".repeat(5000) },
];

describe("a stream of frames", () => {
  test("the frame is a length that counts itself, six words and the payload", () => {
    expect(encodePacket(header, Buffer.from("0000002a", "hex")).toString("hex")).toBe(
      "000000202000808600000001000000d40000000100000007000000000000002a",
    );
  });

  test("reads the same when it arrives at once and byte by byte", () => {
    expect(read([stream])).toEqual(packets);
    expect(read(Array.from(stream, (byte) => Uint8Array.of(byte)))).toEqual(packets);
  });

  test("reads the same when split in two at any byte", () => {
    for (let at = 0; at <= stream.length; at += 1) {
      expect(read([stream.subarray(0, at), stream.subarray(at)])).toEqual(packets);
    }
  });

  test("reads the same however it is split and however often it is repeated", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length * 3)), (cuts) => {
        const repeated = Buffer.concat([stream, stream, stream]);
        const ends = [...cuts.toSorted((a, b) => a - b), repeated.length];
        const chunks = ends.map((end, index) => repeated.subarray(ends[index - 1] ?? 0, end));
        expect(read(chunks)).toEqual([...packets, ...packets, ...packets]);
      }),
    );
  });

  test("yields what was good before what is not", () => {
    const reader = new PacketReader();
    const seen: Seen[] = [];
    const bytes = Buffer.concat([encodePacket(header, Buffer.alloc(0)), Buffer.alloc(4)]);
    expect(() => {
      for (const packet of reader.push(bytes)) seen.push({ ...packet, payload: "" });
    }).toThrow(ProtocolError);
    expect(seen).toEqual([{ ...header, payload: "" }]);
  });

  test("a frame that is only announced takes no memory", () => {
    const announced = Buffer.from("02000000", "hex");
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 100 }, () => new PacketReader());
    for (const reader of readers) expect(read([announced], reader)).toEqual([]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
  });
});

const words = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4);
  return bytes;
};

describe("what cannot be a packet is refused", () => {
  test.each([
    ["a length shorter than a header", words(27), "a frame of 27 bytes was announced"],
    ["a length of zero", words(0), "a frame of 0 bytes was announced"],
    ["a length beyond libvirt's limit", words(33_554_437), "frames have 28 to 33554436"],
    ["text instead of a frame", Buffer.from("HTTP/1.1 400"), "a frame of 1213486160 bytes"],
    [
      "another version of the program",
      words(28, Program.REMOTE, 2, 1, 1, 1, 0),
      "version 2 of program 0x20008086",
    ],
    [
      "a number of descriptors that is missing",
      words(28, Program.REMOTE, 1, 1, 5, 1, 0),
      "an unreadable number of",
    ],
    [
      "more descriptors than libvirt allows",
      withDescriptors(33, Buffer.alloc(0)),
      "announces 33 descriptors",
    ],
  ])("%s", (_, bytes, message) => {
    expect(() => read([bytes])).toThrow(ProtocolError);
    expect(() => read([bytes])).toThrow(message);
  });

  test("a frame beyond the limit of this reader", () => {
    expect(() => read([stream], new PacketReader(1_000))).toThrow("a frame of 5028 bytes was announced");
  });
});
