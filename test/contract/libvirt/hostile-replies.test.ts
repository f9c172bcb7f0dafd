import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { domainEvents } from "../../../src/libvirt/events.ts";
import { connectLibvirt, procedures, type LibvirtConnection } from "../../../src/libvirt/index.ts";
import {
  encodePacket,
  PacketStatus,
  PacketType,
  Program,
  type PacketHeader,
} from "../../../src/libvirt/packet.ts";
import { errorReply } from "../../../src/libvirt/shapes.ts";
import { encode } from "../../../src/libvirt/xdr.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { bytesOf } from "../../unit/libvirt/bytes-of-layout.ts";
import { byNow, mutations, outcomeOf, word } from "./hostile-bytes.ts";

/**
 * A daemon that answers with anything. Whatever it sends: no call may stay
 * pending, none may be given another one's answer, nothing may throw out of
 * the client.
 */

const RUNS = 1_000;
const settled = ["resolved", "LibvirtError", "OutcomeUnknownError", "NotSentError"];
const { domainGetXmlDesc } = procedures;

let server: FakeLibvirtServer;
beforeAll(async () => {
  server = await FakeLibvirtServer.start();
});
afterAll(() => server.stop());

const replyHeader: PacketHeader = {
  program: Program.REMOTE,
  procedure: domainGetXmlDesc.number,
  type: PacketType.REPLY,
  serial: 0,
  status: PacketStatus.OK,
};

/** A reply as it would be right, whose serial is filled in when the call is known. */
type Reply = (serial: number) => Buffer;

const goodReply = bytesOf(domainGetXmlDesc.result.layout).map(
  (payload): Reply =>
    (serial) =>
      encodePacket({ ...replyHeader, serial }, payload),
);

const badReply = bytesOf(errorReply.layout).map(
  (payload): Reply =>
    (serial) =>
      encodePacket({ ...replyHeader, serial, status: PacketStatus.ERROR }, payload),
);

const event = fc
  .constantFrom(...Object.values(domainEvents).map(({ message }) => message))
  .chain(({ number, body }) => bytesOf(body.layout).map((payload) => ({ number, payload })))
  .map(({ number, payload }): Reply => {
    const header = { ...replyHeader, procedure: number, type: PacketType.MESSAGE, serial: 0 };
    return () => encodePacket(header, payload);
  });

const anyPayload = fc
  .tuple(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...Object.values(PacketStatus)))
  .map(
    ([payload, status]): Reply =>
      (serial) =>
        encodePacket({ ...replyHeader, serial, status }, payload),
  );

const anyHeader = fc
  .tuple(fc.constantFrom(...Object.values(Program)), word, fc.nat(9), word, fc.nat(3), fc.uint8Array())
  .map(([program, procedure, type, serial, status, payload]): Reply => {
    const header = { program, procedure, type, serial, status };
    return () => encodePacket(header, payload);
  });

const anyBytes = fc.uint8Array({ maxLength: 200 }).map(
  (bytes): Reply =>
    () =>
      Buffer.from(bytes),
);

const hostile = fc
  .tuple(
    fc.array(fc.oneof(goodReply, badReply, event, anyPayload, anyHeader, anyBytes), {
      minLength: 1,
      maxLength: 3,
    }),
    mutations,
  )
  .map(
    ([replies, mutate]) =>
      (serial: number) =>
        mutate(Buffer.concat(replies.map((reply) => reply(serial)))),
  );

/** Connects, listens to every kind of event, and makes more calls than may be in flight; the first is answered with `bytes`. */
const callAgainst = async (bytes: (serial: number) => Uint8Array, end: boolean) => {
  const connection = await connectLibvirt({ socketPath: server.socketPath });
  const kinds = Object.keys(domainEvents) as (keyof typeof domainEvents)[];
  for (const kind of kinds) await connection.subscribe(kind, () => {});
  const dom = { name: "guest", uuid: "4dea22b3-1d52-d8f3-2516-782e98ab3fa0", id: -1 };
  server.clearFaults();
  server.next("domainGetXmlDesc", { kind: "garble", bytes: ({ serial }) => bytes(serial), end });
  for (let waiting = 0; waiting < 3; waiting += 1) server.next("domainGetXmlDesc", { kind: "hang" });
  const calls = Array.from({ length: 6 }, () => connection.domainXml(dom));
  return { connection, outcomes: calls.map(outcomeOf) };
};

const untilEnded = async (connection: LibvirtConnection): Promise<Error> => {
  const reason = await connection.ended;
  await connection.close();
  return reason;
};

test(`${RUNS} hostile replies leave no call pending`, async () => {
  await fc.assert(
    fc.asyncProperty(hostile, async (bytes) => {
      const { connection, outcomes } = await callAgainst(bytes, true);
      await untilEnded(connection);
      expect(connection.pendingCalls).toBe(0);
      for (const outcome of await Promise.all(outcomes.map(byNow))) expect(settled).toContain(outcome);
    }),
    { numRuns: RUNS },
  );
});

const header = (changes: Partial<PacketHeader>) => (serial: number) =>
  encodePacket({ ...replyHeader, serial, ...changes }, Buffer.alloc(4));

describe("what is no reply closes the connection at once, with the reason, and rejects all calls", () => {
  test.each([
    [
      "a frame over the limit",
      () => Buffer.from("7fffffff", "hex"),
      "a frame of 2147483647 bytes was announced",
    ],
    ["a frame shorter than its header", () => Buffer.alloc(4), "a frame of 0 bytes was announced"],
    ["another protocol", () => Buffer.from("SSH-2.0-OpenSSH"), "a frame of 1397966893 bytes"],
    ["a call", header({ type: PacketType.CALL }), "unexpected packet of type 0"],
    ["a stream that nobody opened", header({ type: PacketType.STREAM }), "unexpected packet of type 3"],
    ["a type that does not exist", header({ type: 77 }), "unexpected packet of type 77"],
    ["a reply of another program", header({ program: 0x2000_8087 }), "program 0x20008087"],
    ["a reply to a call that was not made", header({ serial: 999_999 }), "a reply to call 999999"],
    ["a reply to another procedure", header({ procedure: 1 }), "domainGetXmlDesc is malformed: it is one to"],
    ["a reply that cannot be read", header({ status: 1 }), "domainGetXmlDesc is malformed"],
    [
      "an event that cannot be read",
      header({ type: PacketType.MESSAGE, procedure: 318 }),
      "message 318 is malformed",
    ],
  ])("%s", async (_, bytes, message) => {
    const { connection, outcomes } = await callAgainst(bytes, false);
    const reason = await untilEnded(connection);
    expect(reason).toMatchObject({ name: "ProtocolError", message: expect.stringContaining(message) });
    const unknown = Array.from({ length: 4 }, () => "OutcomeUnknownError");
    expect(await Promise.all(outcomes)).toEqual([...unknown, "NotSentError", "NotSentError"]);
  });
});

describe("what is nobody's business here is passed over", () => {
  test.each([
    ["an event that was not asked for", { procedure: 9_999, type: PacketType.MESSAGE, serial: 0 }],
    [
      "a message of another program",
      { program: 0x2000_8087, procedure: 6, type: PacketType.MESSAGE, serial: 0 },
    ],
    [
      "a keepalive message of the future",
      { program: Program.KEEPALIVE, procedure: 3, type: PacketType.MESSAGE },
    ],
  ])("%s", async (_, changes) => {
    const connection = await connectLibvirt({ socketPath: server.socketPath });
    server.send(encodePacket({ ...replyHeader, ...changes }, Buffer.alloc(8)));
    expect(await connection.hostname()).toBe("fake");
    await connection.close();
  });

  test("the bytes of descriptors, which come after the frame", async () => {
    const connection = await connectLibvirt({ socketPath: server.socketPath });
    server.next("connectGetHostname", {
      kind: "garble",
      bytes: ({ serial, procedure }) => {
        const payload = Buffer.concat([
          Buffer.from("00000002", "hex"),
          encode(procedures.connectGetHostname.result, { hostname: "with descriptors" }),
        ]);
        const frame = { ...replyHeader, serial, procedure, type: PacketType.REPLY_WITH_FDS };
        return Buffer.concat([encodePacket(frame, payload), Buffer.alloc(2)]);
      },
    });
    expect(await connection.hostname()).toBe("with descriptors");
    expect(await connection.hostname()).toBe("fake");
    await connection.close();
  });
});
