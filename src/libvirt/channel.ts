import type { Socket } from "node:net";

import type { Downloaded, DownloadOptions } from "./call-on-lane.ts";
import { Calls } from "./calls.ts";
import { asError, ClosedError, NotSentError, ProtocolError } from "./errors.ts";
import { Keepalive, type KeepaliveOptions } from "./keepalive.ts";
import { encodePacket, PacketReader, PacketStatus, PacketType, Program, type Packet } from "./packet.ts";
import type { Message, Procedure } from "./procedure.ts";
import { reportThrown } from "./listeners.ts";
import { Streams, type Incoming } from "./streams.ts";
import { setTimer } from "./timer.ts";
import type { CallOptions } from "./types.ts";
import { decode, XdrError } from "./xdr.ts";

/** virkeepaliveprotocol.x */
const KeepaliveProcedure = { PING: 1, PONG: 2 } as const;

export interface ChannelOptions {
  readonly maxInFlight: number;
  readonly callTimeoutMs: number;
  readonly maxFrameBytes: number;
}

/** What comes on a stream, unless the time is up or the signal is aborted before. */
const boundedBy = async (incoming: Incoming, ms: number, signal?: AbortSignal): Promise<Buffer> => {
  const onAbort = (): void => incoming.giveUp("aborted", signal?.reason);
  const onTimeout = (): void => incoming.giveUp("timeout", new Error("the stream has not ended in time"));
  const timer = setTimer(onTimeout, ms);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted === true) onAbort();
  try {
    return await incoming.bytes;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
};

/**
 * A socket that speaks libvirt's RPC: packets in and out, calls, messages,
 * keepalive. It knows no procedure by name.
 *
 * It ends once and for one reason: the first of what the socket reports, what
 * cannot be understood, keepalive, and close(). From then on nothing is read
 * and every call is rejected.
 */
export class Channel {
  /** Resolves with the reason when the channel has ended. Never rejects. */
  readonly ended: Promise<Error>;
  readonly #socket: Socket;
  readonly #reader: PacketReader;
  readonly #calls: Calls;
  readonly #streams: Streams;
  readonly #callTimeoutMs: number;
  readonly #messageHandlers = new Map<number, (payload: Buffer) => void>();
  readonly #resolveEnded: (reason: Error) => void;
  #keepalive: Keepalive | undefined;
  #reason: Error | undefined;

  constructor(socket: Socket, options: ChannelOptions) {
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#socket = socket;
    this.#reader = new PacketReader(options.maxFrameBytes);
    this.#callTimeoutMs = options.callTimeoutMs;
    const send = (frame: Buffer): void => void socket.write(frame);
    this.#calls = new Calls({
      maxInFlight: options.maxInFlight,
      timeoutMs: options.callTimeoutMs,
      send,
    });
    this.#streams = new Streams(send);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => this.end(error));
    socket.on("close", () => this.end(new Error("libvirtd closed the connection")));
  }

  get pendingCalls(): number {
    return this.#calls.pending;
  }

  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R> {
    return this.#calls.make(procedure, args, options);
  }

  /** Calls a procedure that answers with a stream besides, and takes all of both. The deadline is that of both. */
  async download<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    { maxBytes, timeoutMs = this.#callTimeoutMs, ...options }: DownloadOptions,
  ): Promise<Downloaded<R>> {
    const { name, program, number } = procedure;
    const deadline = performance.now() + timeoutMs;
    const serial = this.#calls.reserveSerial();
    const incoming = this.#streams.expect({ name, program, number, serial }, maxBytes);
    try {
      const result = await this.#calls.make(procedure, args, { ...options, timeoutMs }, serial);
      const bytes = await boundedBy(incoming, deadline - performance.now(), options.signal);
      return { result, bytes };
    } catch (error) {
      const sent = !(error instanceof NotSentError || error instanceof XdrError);
      if (sent) incoming.giveUp("aborted", error);
      else this.#streams.forget(serial);
      throw error;
    }
  }

  /** Hands the messages of that number to `handler`. One handler per number. */
  onMessage<M>(message: Message<M>, handler: (body: M) => void): void {
    this.#messageHandlers.set(message.number, (payload) => {
      const body = decode(message.body, payload);
      reportThrown(() => handler(body));
    });
  }

  startKeepalive(options: KeepaliveOptions): void {
    if (this.#reason !== undefined) return;
    this.#keepalive = new Keepalive(options, {
      ping: () => this.#sendKeepalive(KeepaliveProcedure.PING),
      dead: (error) => this.end(error),
    });
  }

  /** Ends the channel for that reason. Only the first reason counts. */
  end(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#keepalive?.stop();
    this.#socket.destroy();
    this.#calls.close(reason);
    this.#streams.close(reason);
    this.#resolveEnded(reason);
  }

  /** Ends the channel and resolves when its socket is closed. */
  async close(reason: Error = new ClosedError("the connection was closed by this side")): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.#socket.closed) resolve();
      else this.#socket.once("close", () => resolve());
    });
    this.end(reason);
    await closed;
  }

  #read(chunk: Buffer): void {
    this.#keepalive?.heard();
    try {
      for (const packet of this.#reader.push(chunk)) {
        if (this.#reason !== undefined) return;
        this.#dispatch(packet);
      }
    } catch (error) {
      this.end(asError(error));
    }
  }

  #dispatch(packet: Packet): void {
    const { program, type } = packet;
    if (program === Program.KEEPALIVE && type === PacketType.MESSAGE) this.#answerKeepalive(packet);
    else if (program === Program.REMOTE && type === PacketType.MESSAGE) this.#deliver(packet);
    else if (
      (program === Program.REMOTE || program === Program.QEMU) &&
      (type === PacketType.REPLY || type === PacketType.REPLY_WITH_FDS)
    ) {
      this.#reply(packet);
    } else if (program === Program.REMOTE && type === PacketType.STREAM) this.#streams.receive(packet);
    else if (type !== PacketType.MESSAGE) {
      // A message of another program is news for somebody else. All other packets are answers to what we never asked.
      throw new ProtocolError(`unexpected packet of type ${type}, program 0x${program.toString(16)}`);
    }
  }

  #reply(packet: Packet): void {
    // First, for it throws when there is no such call: a stream that is awaited must not be forgotten then.
    this.#calls.reply(packet);
    if (packet.status === PacketStatus.OK) this.#streams.opened(packet.serial);
    else this.#streams.forget(packet.serial);
  }

  #deliver({ procedure, payload }: Packet): void {
    try {
      this.#messageHandlers.get(procedure)?.(payload);
    } catch (cause) {
      if (!(cause instanceof XdrError)) throw cause;
      throw new ProtocolError(`message ${procedure} is malformed: ${cause.message}`, { cause });
    }
  }

  #answerKeepalive({ procedure }: Packet): void {
    if (procedure === KeepaliveProcedure.PING) this.#sendKeepalive(KeepaliveProcedure.PONG);
  }

  #sendKeepalive(procedure: number): void {
    const header = {
      program: Program.KEEPALIVE,
      procedure,
      type: PacketType.MESSAGE,
      serial: 0,
      status: PacketStatus.OK,
    };
    this.#socket.write(encodePacket(header, Buffer.alloc(0)));
  }
}
