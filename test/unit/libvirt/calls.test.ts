import { describe, expect, test } from "@jest/globals";

import { Calls, type CallsOptions } from "../../../src/libvirt/calls.ts";
import {
  LibvirtError,
  NotSentError,
  OutcomeUnknownError,
  ProtocolError,
} from "../../../src/libvirt/errors.ts";
import { PacketReader, PacketStatus, PacketType, Program, type Packet } from "../../../src/libvirt/packet.ts";
import { procedures } from "../../../src/libvirt/procedures.ts";
import { errorReply } from "../../../src/libvirt/shapes.ts";
import { encode, XdrError } from "../../../src/libvirt/xdr.ts";

const { connectGetHostname, connectClose, domainLookupByName } = procedures;

/** Calls whose frames are kept instead of sent, with the daemon's side in the test's hands. */
const makeCalls = (options: Partial<CallsOptions> = {}) => {
  const sent: Packet[] = [];
  const reader = new PacketReader();
  const send = (frame: Buffer): void => {
    for (const packet of reader.push(frame)) sent.push({ ...packet, payload: Buffer.from(packet.payload) });
  };
  const calls = new Calls({ maxInFlight: 2, timeoutMs: 60_000, send, ...options });
  return { calls, sent };
};

const replyTo = (serial: number, reply: Partial<Packet> = {}): Packet => ({
  program: Program.REMOTE,
  procedure: connectGetHostname.number,
  type: PacketType.REPLY,
  serial,
  status: PacketStatus.OK,
  payload: encode(connectGetHostname.result, { hostname: `answer to ${serial}` }),
  ...reply,
});

/** What a promise has come to, for those that must reject. */
const failureOf = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    (value) => {
      throw new Error(`resolved with ${JSON.stringify(value)}`);
    },
    (error: Error) => error,
  );

const hostname = (calls: Calls, options: { signal?: AbortSignal; timeoutMs?: number } = {}) =>
  calls.make(connectGetHostname, undefined, options);

describe("calls in flight", () => {
  test("no more than the cap are sent, the others follow in order as replies come", async () => {
    const { calls, sent } = makeCalls();
    const promises = [1, 2, 3, 4].map(() => hostname(calls));
    expect(sent.map(({ serial }) => serial)).toEqual([1, 2]);
    calls.reply(replyTo(2));
    expect(sent.map(({ serial }) => serial)).toEqual([1, 2, 3]);
    calls.reply(replyTo(1));
    calls.reply(replyTo(3));
    calls.reply(replyTo(4));
    expect(await Promise.all(promises)).toEqual([1, 2, 3, 4].map((n) => ({ hostname: `answer to ${n}` })));
    expect(calls.pending).toBe(0);
  });

  test("each reply settles its own call, in whatever order replies come", async () => {
    const { calls } = makeCalls({ maxInFlight: 4 });
    const promises = [1, 2, 3, 4].map(() => hostname(calls));
    for (const serial of [3, 1, 4, 2]) calls.reply(replyTo(serial));
    expect(await Promise.all(promises)).toEqual([1, 2, 3, 4].map((n) => ({ hostname: `answer to ${n}` })));
  });

  test("an error reply rejects with what libvirt said", async () => {
    const { calls } = makeCalls();
    const failed = failureOf(hostname(calls));
    const details = { code: 42, domain: 10, level: 2, message: "Domain not found" };
    calls.reply(replyTo(1, { status: PacketStatus.ERROR, payload: encode(errorReply, details) }));
    expect(await failed).toMatchObject({ ...details, name: "LibvirtError", procedure: "connectGetHostname" });
    expect(await failed).toBeInstanceOf(LibvirtError);
  });

  test("an argument that cannot be sent rejects and takes no slot", async () => {
    const { calls, sent } = makeCalls();
    const failed = failureOf(calls.make(domainLookupByName, { name: "a\0b" }));
    expect(await failed).toBeInstanceOf(XdrError);
    expect(sent).toEqual([]);
    expect(calls.pending).toBe(0);
  });
});

describe("a call that is given up", () => {
  test("before it was sent leaves the queue, and the daemon never hears of it", async () => {
    const { calls, sent } = makeCalls({ maxInFlight: 1 });
    const first = hostname(calls);
    const controller = new AbortController();
    const second = failureOf(hostname(calls, { signal: controller.signal }));
    controller.abort(new Error("no longer needed"));
    expect(await second).toMatchObject({ name: "NotSentError", reason: "aborted" });
    expect((await second).message).toContain("no longer needed");
    calls.reply(replyTo(1));
    await first;
    expect(sent).toHaveLength(1);
    expect(calls.pending).toBe(0);
  });

  test("after it was sent has an unknown outcome and keeps its slot until the daemon has replied", async () => {
    const { calls, sent } = makeCalls({ maxInFlight: 1 });
    const controller = new AbortController();
    const first = failureOf(hostname(calls, { signal: controller.signal }));
    const second = hostname(calls);
    controller.abort();
    expect(await first).toMatchObject({ name: "OutcomeUnknownError", reason: "aborted" });
    expect(sent).toHaveLength(1);
    calls.reply(replyTo(1));
    expect(sent).toHaveLength(2);
    calls.reply(replyTo(2));
    expect(await second).toEqual({ hostname: "answer to 2" });
  });

  test("by its deadline while sent has an unknown outcome", async () => {
    const { calls } = makeCalls();
    const error = await failureOf(hostname(calls, { timeoutMs: 1 }));
    expect(error).toMatchObject({ name: "OutcomeUnknownError", reason: "timeout" });
    expect(error.message).toBe(
      "outcome of connectGetHostname is unknown, its deadline passed: no reply within 1 ms",
    );
  });

  test("by its deadline while queued was not sent", async () => {
    const { calls } = makeCalls({ maxInFlight: 1, timeoutMs: 1 });
    const first = failureOf(hostname(calls));
    const second = failureOf(hostname(calls));
    expect(await first).toBeInstanceOf(OutcomeUnknownError);
    expect(await second).toBeInstanceOf(NotSentError);
  });

  test("has no deadline when that is Infinity", async () => {
    const { calls } = makeCalls({ timeoutMs: 1 });
    const bounded = failureOf(hostname(calls));
    const unbounded = hostname(calls, { timeoutMs: Number.POSITIVE_INFINITY });
    await bounded;
    calls.reply(replyTo(2));
    expect(await unbounded).toEqual({ hostname: "answer to 2" });
  });

  test("before it was made is not made", async () => {
    const { calls, sent } = makeCalls();
    expect(await failureOf(hostname(calls, { signal: AbortSignal.abort() }))).toBeInstanceOf(NotSentError);
    expect(sent).toEqual([]);
  });

  test("may be answered with anything later", async () => {
    const { calls } = makeCalls();
    await failureOf(hostname(calls, { timeoutMs: 1 }));
    expect(() => calls.reply(replyTo(1, { payload: Buffer.alloc(3) }))).not.toThrow();
    expect(calls.pending).toBe(0);
  });
});

describe("a reply that makes no sense", () => {
  test.each([
    ["to a call that was not made", replyTo(9), "a reply to call 9, which was not made"],
    [
      "that is cut short",
      replyTo(1, { payload: Buffer.alloc(3) }),
      "malformed: hostname: ends 1 bytes too early",
    ],
    ["that is too long", replyTo(1, { payload: Buffer.alloc(8) }), "malformed: 4 bytes are left over"],
    ["with an unknown status", replyTo(1, { status: 2 }), "status 2 is no status of a reply"],
    ["to another procedure", replyTo(1, { procedure: 212 }), "it is one to procedure 212"],
    [
      "whose error cannot be read",
      replyTo(1, { status: 1, payload: Buffer.alloc(3) }),
      "ends 1 bytes too early",
    ],
  ])("%s is reported, and leaves no call pending", async (_, packet, message) => {
    const { calls } = makeCalls();
    const failed = failureOf(hostname(calls));
    expect(() => calls.reply(packet)).toThrow(ProtocolError);
    const { calls: again } = makeCalls();
    const failedAgain = failureOf(hostname(again));
    expect(() => again.reply(packet)).toThrow(message);
    for (const each of [calls, again]) each.close(new Error("garbage"));
    expect(await failed).toBeInstanceOf(OutcomeUnknownError);
    expect(await failedAgain).toBeInstanceOf(OutcomeUnknownError);
  });
});

describe("when the connection is lost", () => {
  test("sent calls have an unknown outcome, queued ones were not sent, later ones are refused", async () => {
    const { calls } = makeCalls({ maxInFlight: 1 });
    const sent = failureOf(calls.make(connectClose, undefined));
    const queued = failureOf(hostname(calls));
    calls.close(new Error("libvirtd is gone"));
    calls.close(new Error("only the first reason counts"));
    expect(await sent).toMatchObject({ name: "OutcomeUnknownError", reason: "disconnected" });
    expect(await queued).toMatchObject({ name: "NotSentError", reason: "disconnected" });
    expect((await failureOf(hostname(calls))).message).toBe(
      "connectGetHostname was not sent, the connection was lost: libvirtd is gone",
    );
    expect(calls.pending).toBe(0);
  });
});
