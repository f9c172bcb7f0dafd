import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { ProtocolError } from "../../../src/libvirt/errors.ts";
import { PacketReader, PacketStatus, PacketType, Program, type Packet } from "../../../src/libvirt/packet.ts";
import { errorReply } from "../../../src/libvirt/shapes.ts";
import { Streams } from "../../../src/libvirt/streams.ts";
import { encode } from "../../../src/libvirt/xdr.ts";

const origin = { name: "domainScreenshot", program: Program.REMOTE, number: 211, serial: 7 };

/** Streams whose packets to the daemon are kept, with the daemon's side in the test's hands. */
const makeStreams = () => {
  const told: Packet[] = [];
  const reader = new PacketReader();
  const streams = new Streams((frame) => {
    for (const packet of reader.push(frame)) told.push({ ...packet });
  });
  return { streams, told };
};

const packet = (status: number, payload: Buffer = Buffer.alloc(0), serial = 7): Packet => ({
  program: Program.REMOTE,
  procedure: 211,
  type: PacketType.STREAM,
  serial,
  status,
  payload,
});
const piece = (text: string): Packet => packet(PacketStatus.CONTINUE, Buffer.from(text));
const end = packet(PacketStatus.CONTINUE);
const confirmation = packet(PacketStatus.OK);

const failureOf = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    (value) => {
      throw new Error(`resolved with ${JSON.stringify(value)}`);
    },
    (error: Error) => error,
  );

describe("a stream", () => {
  test("is all of its pieces, once the daemon has said that these were all and has been told that they are here", async () => {
    const { streams, told } = makeStreams();
    const { bytes } = streams.expect(origin, 100);
    streams.opened(7);
    for (const each of [piece("ab"), piece("cde"), end]) streams.receive(each);
    expect(told).toEqual([packet(PacketStatus.OK)]);
    streams.receive(confirmation);
    expect(String(await bytes)).toBe("abcde");
    expect(streams.pending).toBe(0);
  });

  test("keeps its pieces when the buffer that they came in is used again", async () => {
    const { streams } = makeStreams();
    const { bytes } = streams.expect(origin, 100);
    streams.opened(7);
    const shared = Buffer.from("first");
    streams.receive(packet(PacketStatus.CONTINUE, shared));
    shared.write("other");
    streams.receive(end);
    streams.receive(confirmation);
    expect(String(await bytes)).toBe("first");
  });

  test("may be one of several, whose pieces come mixed", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(2), fc.uint8Array({ minLength: 1 }))), async (pieces) => {
        const { streams } = makeStreams();
        const all = [0, 1, 2].map((serial) => streams.expect({ ...origin, serial }, 100_000).bytes);
        for (const serial of [0, 1, 2]) streams.opened(serial);
        for (const [serial, bytes] of pieces) {
          streams.receive(packet(PacketStatus.CONTINUE, Buffer.from(bytes), serial));
        }
        for (const serial of [2, 0, 1]) {
          streams.receive({ ...end, serial });
          streams.receive({ ...confirmation, serial });
        }
        const sent = [0, 1, 2].map((wanted) =>
          Buffer.concat(pieces.filter(([serial]) => serial === wanted).map(([, bytes]) => bytes)),
        );
        expect(await Promise.all(all)).toEqual(sent);
      }),
      { numRuns: 50 },
    );
  });

  test("that fails rejects with what libvirt says", async () => {
    const { streams } = makeStreams();
    const failed = failureOf(streams.expect(origin, 100).bytes);
    streams.opened(7);
    streams.receive(piece("half"));
    const details = { code: 38, domain: 10, level: 2, message: "cannot read" };
    streams.receive(packet(PacketStatus.ERROR, encode(errorReply, details)));
    expect(await failed).toMatchObject({ ...details, name: "LibvirtError", procedure: "domainScreenshot" });
    expect(streams.pending).toBe(0);
  });

  test("that is longer than is wanted is refused, and what still comes of it is passed over", async () => {
    const { streams, told } = makeStreams();
    const failed = failureOf(streams.expect(origin, 4).bytes);
    streams.opened(7);
    for (const each of [piece("abcd"), piece("e"), piece("f"), end]) streams.receive(each);
    expect(await failed).toMatchObject({ name: "StreamLimitError", maxBytes: 4 });
    expect(told).toEqual([packet(PacketStatus.ERROR)]);
    streams.receive(confirmation);
    expect(streams.pending).toBe(0);
  });

  test("that is given up is refused once, and rejects with the reason", async () => {
    const { streams, told } = makeStreams();
    const incoming = streams.expect(origin, 100);
    const failed = failureOf(incoming.bytes);
    streams.opened(7);
    incoming.giveUp("timeout", new Error("too slow"));
    incoming.giveUp("aborted", new Error("no longer wanted"));
    expect(await failed).toMatchObject({ name: "OutcomeUnknownError", reason: "timeout" });
    expect(told).toEqual([packet(PacketStatus.ERROR)]);
  });

  test("may overtake the reply to its call, all of it", async () => {
    const { streams } = makeStreams();
    const { bytes } = streams.expect(origin, 100);
    for (const each of [piece("early"), end, confirmation]) streams.receive(each);
    streams.opened(7);
    expect(String(await bytes)).toBe("early");
    expect(streams.pending).toBe(0);
  });

  test("that is given up before anything has come is refused by its first piece, once", () => {
    const { streams, told } = makeStreams();
    streams.expect(origin, 100).giveUp("aborted", undefined);
    streams.receive(piece("early"));
    streams.opened(7);
    expect(told).toEqual([packet(PacketStatus.ERROR)]);
    streams.receive(confirmation);
    expect(streams.pending).toBe(0);
  });

  test("that is given up before it has opened is refused as soon as it opens", () => {
    const { streams, told } = makeStreams();
    streams.expect(origin, 100).giveUp("aborted", undefined);
    expect(told).toEqual([]);
    streams.opened(7);
    expect(told).toEqual([packet(PacketStatus.ERROR)]);
    streams.receive(piece("late"));
    streams.receive(confirmation);
    expect(streams.pending).toBe(0);
  });

  test("is forgotten when its call fails", () => {
    const { streams } = makeStreams();
    streams.expect(origin, 100);
    streams.forget(7);
    expect(streams.pending).toBe(0);
  });

  test("has an unknown outcome when the connection is lost", async () => {
    const { streams } = makeStreams();
    const failed = failureOf(streams.expect(origin, 100).bytes);
    streams.opened(7);
    streams.close(new Error("libvirtd is gone"));
    expect(await failed).toMatchObject({ name: "OutcomeUnknownError", reason: "disconnected" });
  });
});

describe("what makes no sense is reported", () => {
  test.each([
    ["a piece of a stream that nobody opened", packet(PacketStatus.CONTINUE, Buffer.from("a"), 8), "type 3"],
    ["an end that is confirmed without having been reached", confirmation, "has ended before its end"],
    ["an error that cannot be read", packet(PacketStatus.ERROR, Buffer.alloc(3)), "is malformed: code: ends"],
  ])("%s", async (_, wrong, message) => {
    const { streams } = makeStreams();
    const failed = failureOf(streams.expect(origin, 100).bytes);
    streams.opened(7);
    expect(() => streams.receive(wrong)).toThrow(ProtocolError);
    streams.close(new Error("garbage"));
    expect((await failed).name).toBe("OutcomeUnknownError");
    const again = makeStreams().streams;
    again.expect(origin, 100);
    again.opened(7);
    expect(() => again.receive(wrong)).toThrow(message);
  });
});
