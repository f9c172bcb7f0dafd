import { ProtocolError } from "./errors.ts";

/**
 * Frames of libvirt's RPC: a length that counts itself, six words of header,
 * the payload in XDR.
 * https://libvirt.org/kbase/internals/rpc.html#packet-framing
 */

export const Program = { REMOTE: 0x2000_8086, QEMU: 0x2000_8087, KEEPALIVE: 0x6b65_6570 } as const;
export const PROGRAM_VERSION = 1;

/** virNetMessageType */
export const PacketType = {
  CALL: 0,
  REPLY: 1,
  MESSAGE: 2,
  STREAM: 3,
  CALL_WITH_FDS: 4,
  REPLY_WITH_FDS: 5,
  STREAM_HOLE: 6,
} as const;

/** virNetMessageStatus */
export const PacketStatus = { OK: 0, ERROR: 1, CONTINUE: 2 } as const;

export interface PacketHeader {
  readonly program: number;
  readonly procedure: number;
  /** One of PacketType. */
  readonly type: number;
  /** Given by the caller and repeated in the reply; 0 in messages. */
  readonly serial: number;
  /** One of PacketStatus. */
  readonly status: number;
}

export interface Packet extends PacketHeader {
  /** A view that is good until the reader is given more bytes. */
  readonly payload: Buffer;
}

const LENGTH_BYTES = 4;
const HEADER_BYTES = LENGTH_BYTES + 6 * 4;
/** VIR_NET_MESSAGE_MAX, which does not count the length itself. */
export const FRAME_MAX_BYTES = LENGTH_BYTES + 33_554_432;
/** VIR_NET_MESSAGE_NUM_FDS_MAX */
const DESCRIPTORS_MAX = 32;

export const encodePacket = (header: PacketHeader, payload: Uint8Array): Buffer => {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  const { program, procedure, type, serial, status } = header;
  for (const [index, word] of [
    frame.length,
    program,
    PROGRAM_VERSION,
    procedure,
    type,
    serial,
    status,
  ].entries()) {
    frame.writeUInt32BE(word, index * 4);
  }
  frame.set(payload, HEADER_BYTES);
  return frame;
};

const INITIAL_BYTES = 16_384;

/**
 * Cuts a stream of bytes into packets, wherever it was split on its way.
 *
 * Memory follows what has really arrived, at most twice of it: a length that
 * was announced allocates nothing.
 */
export class PacketReader {
  readonly #maxBytes: number;
  #buffer = Buffer.allocUnsafe(INITIAL_BYTES);
  /** The bytes in #buffer that are not consumed yet. */
  #start = 0;
  #end = 0;
  /** Bytes of descriptors that are still to be skipped. */
  #skip = 0;

  constructor(maxBytes: number = FRAME_MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Takes bytes and yields the packets that they complete. Throws ProtocolError on what cannot be a packet. */
  *push(chunk: Uint8Array): Generator<Packet, void, void> {
    this.#append(chunk);
    for (;;) {
      this.#skipDescriptors();
      const packet = this.#next();
      if (packet === undefined) return;
      yield packet;
    }
  }

  #append(chunk: Uint8Array): void {
    const held = this.#end - this.#start;
    const needed = held + chunk.length;
    if (needed > this.#buffer.length || (held === 0 && this.#buffer.length > INITIAL_BYTES)) {
      const size = needed <= INITIAL_BYTES ? INITIAL_BYTES : Math.max(needed, held * 2);
      const moved = Buffer.allocUnsafe(size);
      this.#buffer.copy(moved, 0, this.#start, this.#end);
      this.#buffer = moved;
    } else {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    }
    this.#start = 0;
    this.#buffer.set(chunk, held);
    this.#end = needed;
  }

  /**
   * The daemon sends each descriptor with one byte that no frame counts. Node
   * cannot receive descriptors, so the kernel has closed it; the byte remains.
   */
  #skipDescriptors(): void {
    const skipped = Math.min(this.#skip, this.#end - this.#start);
    this.#start += skipped;
    this.#skip -= skipped;
  }

  #next(): Packet | undefined {
    const held = this.#end - this.#start;
    if (this.#skip > 0 || held < LENGTH_BYTES) return undefined;
    const length = this.#word(0);
    if (length < HEADER_BYTES || length > this.#maxBytes) {
      throw new ProtocolError(
        `a frame of ${length} bytes was announced, but frames have ${HEADER_BYTES} to ${this.#maxBytes}`,
      );
    }
    if (held < length) return undefined;
    const packet = this.#packet(length);
    this.#start += length;
    return packet;
  }

  #word(index: number): number {
    return this.#buffer.readUInt32BE(this.#start + index * 4);
  }

  #packet(length: number): Packet {
    const version = this.#word(2);
    if (version !== PROGRAM_VERSION) {
      throw new ProtocolError(`version ${version} of program 0x${this.#word(1).toString(16)} is not known`);
    }
    const type = this.#word(4);
    const payload = this.#buffer.subarray(this.#start + HEADER_BYTES, this.#start + length);
    return {
      program: this.#word(1),
      procedure: this.#word(3),
      type,
      serial: this.#word(5),
      status: this.#word(6),
      payload: type === PacketType.REPLY_WITH_FDS ? this.#withoutDescriptors(payload) : payload,
    };
  }

  #withoutDescriptors(payload: Buffer): Buffer {
    const count = payload.length < 4 ? undefined : payload.readUInt32BE(0);
    if (count === undefined || count > DESCRIPTORS_MAX) {
      throw new ProtocolError(`a reply announces ${count ?? "an unreadable number of"} descriptors`);
    }
    this.#skip = count;
    return payload.subarray(4);
  }
}
