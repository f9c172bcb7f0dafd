import { afterAll, beforeAll, expect, test } from "@jest/globals";
import fc from "fast-check";

import { connectLibvirt, procedures } from "../../../src/libvirt/index.ts";
import { encodePacket, PacketStatus, PacketType, Program } from "../../../src/libvirt/packet.ts";
import { errorReply } from "../../../src/libvirt/shapes.ts";
import { encode } from "../../../src/libvirt/xdr.ts";
import { FakeLibvirtServer } from "../../fakes/libvirt-server.ts";
import { byNow, mutations, outcomeOf } from "./hostile-bytes.ts";

/** A daemon that streams anything in any order: no call may stay pending, nothing may throw out of the client. */

const RUNS = 500;
const MAX_BYTES = 64;
const settled = ["resolved", "LibvirtError", "OutcomeUnknownError", "NotSentError", "StreamLimitError"];
const { domainScreenshot } = procedures;

let server: FakeLibvirtServer;
beforeAll(async () => {
  server = await FakeLibvirtServer.start();
});
afterAll(() => server.stop());

type Frame = (serial: number) => Buffer;

const frame =
  (type: number, status: number, payload: Buffer): Frame =>
  (serial) =>
    encodePacket(
      { program: Program.REMOTE, procedure: domainScreenshot.number, type, serial, status },
      payload,
    );

const details = { code: 38, domain: 10, level: 2, message: "cannot read" };
const error = encode(errorReply, details);
const nothing = Buffer.alloc(0);
const { REPLY, STREAM, STREAM_HOLE } = PacketType;
const { OK, ERROR, CONTINUE } = PacketStatus;

const frames = fc.oneof(
  fc.constant(frame(REPLY, OK, encode(domainScreenshot.result, { mime: "image/png" }))),
  fc.constant(frame(REPLY, ERROR, error)),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => frame(STREAM, CONTINUE, Buffer.from(bytes))),
  fc.constantFrom(
    frame(STREAM, CONTINUE, nothing),
    frame(STREAM, OK, nothing),
    frame(STREAM, ERROR, error),
    frame(STREAM, ERROR, nothing),
    frame(STREAM_HOLE, CONTINUE, Buffer.alloc(12)),
  ),
);

/** Makes more calls than may be in flight, one of which nobody waits for; the first is answered with `bytes`. */
const screenshotsAgainst = async (bytes: Frame) => {
  const connection = await connectLibvirt({ socketPath: server.socketPath });
  const domain = { name: "guest", uuid: "4dea22b3-1d52-d8f3-2516-782e98ab3fa0", id: 1 };
  server.clearFaults();
  server.next("domainScreenshot", { kind: "garble", bytes: ({ serial }) => bytes(serial), end: true });
  for (let waiting = 0; waiting < 3; waiting += 1) server.next("domainScreenshot", { kind: "hang" });
  const controller = new AbortController();
  const outcomes = [true, false, false, false, false].map((patient) => {
    const options = { maxBytes: MAX_BYTES, ...(patient ? {} : { signal: controller.signal }) };
    return outcomeOf(connection.screenshot(domain, options));
  });
  controller.abort();
  return { connection, outcomes };
};

test(`${RUNS} hostile streams leave no call pending`, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(frames, { minLength: 1, maxLength: 6 }), mutations, async (sent, mutate) => {
      const { connection, outcomes } = await screenshotsAgainst((serial) =>
        mutate(Buffer.concat(sent.map((each) => each(serial)))),
      );
      await connection.ended;
      await connection.close();
      expect(connection.pendingCalls).toBe(0);
      for (const outcome of await Promise.all(outcomes.map(byNow))) expect(settled).toContain(outcome);
    }),
    { numRuns: RUNS },
  );
});
