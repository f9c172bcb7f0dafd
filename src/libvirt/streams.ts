import {
  LibvirtError,
  OutcomeUnknownError,
  ProtocolError,
  StreamLimitError,
  type GivenUp,
} from "./errors.ts";
import { encodePacket, PacketStatus, PacketType, type Packet } from "./packet.ts";
import { errorReply } from "./shapes.ts";
import { decode, XdrError } from "./xdr.ts";

/** Which call has opened a stream: its packets repeat the call's numbers. */
export interface StreamOrigin {
  /** The procedure's name in the table. */
  readonly name: string;
  readonly program: number;
  readonly number: number;
  readonly serial: number;
}

/** What the daemon sends on one stream. */
export interface Incoming {
  /** Resolves with all bytes when the daemon says that these were all. */
  readonly bytes: Promise<Buffer>;
  /** Rejects `bytes`, and tells the daemon when it is sending. */
  giveUp(reason: Exclude<GivenUp, "malformed-reply">, cause: unknown): void;
}

type State =
  /** The call is not answered, and nothing has come: there may never be a stream. */
  | "expected"
  | "open"
  /** All is here; the daemon has been told, and confirms it. */
  | "finishing"
  /** Given up before there was one: is aborted as soon as it opens. */
  | "unwanted"
  /** Given up: what still comes is passed over until the daemon confirms. */
  | "aborting";

interface Stream {
  readonly origin: StreamOrigin;
  readonly maxBytes: number;
  readonly pieces: Buffer[];
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: Error) => void;
  length: number;
  state: State;
}

/**
 * The streams that the daemon sends on one connection.
 *
 * They have no flow control, and what is not read holds up the calls beside
 * them. So each is read as it comes, into memory, up to a limit.
 * https://libvirt.org/kbase/internals/rpc.html#data-stream
 */
export class Streams {
  readonly #send: (frame: Buffer) => void;
  readonly #streams = new Map<number, Stream>();

  constructor(send: (frame: Buffer) => void) {
    this.#send = send;
  }

  /** Streams that are expected, are open, or are not confirmed to have ended. */
  get pending(): number {
    return this.#streams.size;
  }

  /** Expects a stream in answer to that call: before the call is sent, since the stream may overtake the reply. */
  expect(origin: StreamOrigin, maxBytes: number): Incoming {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const stream: Stream = { origin, maxBytes, pieces: [], length: 0, state: "expected", resolve, reject };
    this.#streams.set(origin.serial, stream);
    // Whoever has given the call up no longer looks at its stream.
    promise.catch(() => {});
    return {
      bytes: promise,
      giveUp: (reason, cause) => this.#giveUp(stream, new OutcomeUnknownError(origin.name, reason, cause)),
    };
  }

  /** The call was not sent, or its answer is an error: there is no stream. */
  forget(serial: number): void {
    this.#streams.delete(serial);
  }

  /** The call was answered well: its stream is open. */
  opened(serial: number): void {
    const stream = this.#streams.get(serial);
    if (stream !== undefined) this.#open(stream);
  }

  /** Takes a packet of a stream. Throws ProtocolError when it makes no sense. */
  receive(packet: Packet): void {
    const stream = this.#streams.get(packet.serial);
    if (stream === undefined) {
      throw new ProtocolError(
        `unexpected packet of type ${packet.type}, program 0x${packet.program.toString(16)}`,
      );
    }
    this.#open(stream);
    if (packet.status === PacketStatus.CONTINUE) this.#take(stream, packet.payload);
    else if (packet.status === PacketStatus.ERROR) this.#fail(stream, packet.payload);
    else this.#confirmed(stream);
  }

  /** Rejects every stream. */
  close(reason: Error): void {
    for (const { origin, reject } of this.#streams.values()) {
      reject(new OutcomeUnknownError(origin.name, "disconnected", reason));
    }
    this.#streams.clear();
  }

  #open(stream: Stream): void {
    if (stream.state === "expected") stream.state = "open";
    else if (stream.state === "unwanted") this.#abort(stream);
  }

  /** A piece without bytes says that these were all. */
  #take(stream: Stream, payload: Buffer): void {
    if (stream.state !== "open") return;
    if (payload.length === 0) {
      stream.state = "finishing";
      this.#tell(stream, PacketStatus.OK);
      return;
    }
    stream.length += payload.length;
    if (stream.length > stream.maxBytes) {
      this.#giveUp(stream, new StreamLimitError(stream.origin.name, stream.maxBytes));
      return;
    }
    // The payload is a view of what the next chunk overwrites.
    stream.pieces.push(Buffer.from(payload));
  }

  #fail(stream: Stream, payload: Buffer): void {
    const { serial, name } = stream.origin;
    this.#streams.delete(serial);
    try {
      stream.reject(new LibvirtError(name, decode(errorReply, payload)));
    } catch (cause) {
      stream.reject(new OutcomeUnknownError(name, "malformed-reply", cause));
      if (!(cause instanceof XdrError)) throw cause;
      throw new ProtocolError(`the error in the stream of ${name} is malformed: ${cause.message}`, { cause });
    }
  }

  #confirmed(stream: Stream): void {
    this.#streams.delete(stream.origin.serial);
    if (stream.state === "open") {
      const early = new ProtocolError(`the stream of ${stream.origin.name} has ended before its end`);
      stream.reject(new OutcomeUnknownError(stream.origin.name, "malformed-reply", early));
      throw early;
    }
    stream.resolve(Buffer.concat(stream.pieces));
  }

  #giveUp(stream: Stream, error: Error): void {
    if (stream.state === "expected") stream.state = "unwanted";
    else if (stream.state === "open") this.#abort(stream);
    stream.reject(error);
  }

  #abort(stream: Stream): void {
    stream.state = "aborting";
    stream.pieces.length = 0;
    this.#tell(stream, PacketStatus.ERROR);
  }

  #tell({ origin: { program, number, serial } }: Stream, status: number): void {
    const header = { program, procedure: number, type: PacketType.STREAM, serial, status };
    this.#send(encodePacket(header, Buffer.alloc(0)));
  }
}
