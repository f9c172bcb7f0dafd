import type { Socket } from "node:net";

import { Calls } from "./calls.ts";
import { asError, ClosedError, ProtocolError } from "./errors.ts";
import { Keepalive, type KeepaliveOptions } from "./keepalive.ts";
import { encodePacket, PacketReader, PacketStatus, PacketType, Program, type Packet } from "./packet.ts";
import type { Message, Procedure } from "./procedure.ts";
import { reportThrown } from "./listeners.ts";
import type { CallOptions } from "./types.ts";
import { decode, XdrError } from "./xdr.ts";

/** virkeepaliveprotocol.x */
const KeepaliveProcedure = { PING: 1, PONG: 2 } as const;

export interface ChannelOptions {
  readonly maxInFlight: number;
  readonly callTimeoutMs: number;
  readonly maxFrameBytes: number;
}

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
    this.#calls = new Calls({
      maxInFlight: options.maxInFlight,
      timeoutMs: options.callTimeoutMs,
      send: (frame) => void socket.write(frame),
    });
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
      this.#calls.reply(packet);
    } else if (type !== PacketType.MESSAGE) {
      // A message of another program is news for somebody else. All other packets are answers to what we never asked.
      throw new ProtocolError(`unexpected packet of type ${type}, program 0x${program.toString(16)}`);
    }
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
