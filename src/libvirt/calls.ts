import {
  asError,
  LibvirtError,
  NotSentError,
  OutcomeUnknownError,
  ProtocolError,
  type GivenUp,
} from "./errors.ts";
import { encodePacket, PacketStatus, PacketType, type Packet } from "./packet.ts";
import type { Procedure } from "./procedure.ts";
import { errorReply } from "./shapes.ts";
import { setTimer } from "./timer.ts";
import type { CallOptions } from "./types.ts";
import { decode, encode, XdrError } from "./xdr.ts";

export interface CallsOptions {
  /** How many calls may be with the daemon at a time. */
  readonly maxInFlight: number;
  /** Deadline of a call that names none, in ms. */
  readonly timeoutMs: number;
  readonly send: (frame: Buffer) => void;
}

interface Call {
  readonly serial: number;
  readonly procedure: string;
  readonly program: number;
  readonly number: number;
  readonly frame: Buffer;
  /** Reads a good reply and resolves with it. Throws XdrError. */
  readonly resolve: (payload: Buffer) => void;
  readonly reject: (error: Error) => void;
}

const SERIAL_MAX = 0xffff_ffff;

const frameOf = <A, R>(procedure: Procedure<A, R>, args: A, serial: number): Buffer => {
  const header = {
    program: procedure.program,
    procedure: procedure.number,
    type: PacketType.CALL,
    serial,
    status: PacketStatus.OK,
  };
  return encodePacket(header, encode(procedure.args, args));
};

/**
 * The calls of one connection, from being made to being answered.
 *
 * A call waits in the queue until one of `maxInFlight` slots is free, is sent,
 * and holds its slot until the daemon has replied. Giving it up (deadline,
 * abort) settles the promise at once, but a sent call keeps its slot: the
 * daemon is still at work on it, and the slots are there to spare the daemon.
 */
export class Calls {
  readonly #options: CallsOptions;
  readonly #queued = new Set<Call>();
  /** By serial; undefined for a call that was given up and is still owed a reply. */
  readonly #sent = new Map<number, Call | undefined>();
  #lastSerial = 0;
  #closed: Error | undefined;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** Calls that wait or are with the daemon, those that were given up included. */
  get pending(): number {
    return this.#queued.size + this.#sent.size;
  }

  /** A number for the next call, for whoever must know it before the call is made. */
  reserveSerial(): number {
    do {
      this.#lastSerial = this.#lastSerial === SERIAL_MAX ? 1 : this.#lastSerial + 1;
    } while (this.#sent.has(this.#lastSerial));
    return this.#lastSerial;
  }

  make<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options: CallOptions = {},
    serial: number = this.reserveSerial(),
  ): Promise<R> {
    return new Promise((resolve, reject) => {
      const { name, program, number } = procedure;
      const { signal, timeoutMs = this.#options.timeoutMs } = options;
      if (this.#closed !== undefined) throw new NotSentError(name, "disconnected", this.#closed);
      if (signal?.aborted === true) throw new NotSentError(name, "aborted", signal.reason);

      const frame = frameOf(procedure, args, serial);
      const onAbort = (): void => this.#giveUp(call, "aborted", signal?.reason);
      const onTimeout = (): void =>
        this.#giveUp(call, "timeout", new Error(`no reply within ${timeoutMs} ms`));
      const timer = setTimer(onTimeout, timeoutMs);
      const settled = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      const call: Call = {
        serial,
        procedure: name,
        program,
        number,
        frame,
        resolve: (payload) => {
          const result = decode(procedure.result, payload);
          settled();
          resolve(result);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#queued.add(call);
      this.#sendQueued();
    });
  }

  /** Settles the call that the packet replies to. Throws ProtocolError for a reply that makes no sense. */
  reply(packet: Packet): void {
    const { serial } = packet;
    if (!this.#sent.has(serial)) throw new ProtocolError(`a reply to call ${serial}, which was not made`);
    const call = this.#sent.get(serial);
    this.#sent.delete(serial);
    if (call !== undefined) this.#settle(call, packet);
    this.#sendQueued();
  }

  /** Rejects every call, and every later one. */
  close(reason: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    const sent = [...this.#sent.values()];
    const queued = [...this.#queued];
    this.#sent.clear();
    this.#queued.clear();
    for (const call of sent) call?.reject(new OutcomeUnknownError(call.procedure, "disconnected", reason));
    for (const call of queued) call.reject(new NotSentError(call.procedure, "disconnected", reason));
  }

  #sendQueued(): void {
    for (const call of this.#queued) {
      if (this.#sent.size >= this.#options.maxInFlight) return;
      this.#queued.delete(call);
      this.#sent.set(call.serial, call);
      this.#options.send(call.frame);
    }
  }

  #settle(call: Call, { program, procedure, status, payload }: Packet): void {
    try {
      if (program !== call.program || procedure !== call.number) {
        throw new XdrError(`it is one to procedure ${procedure} of program 0x${program.toString(16)}`);
      }
      if (status === PacketStatus.OK) call.resolve(payload);
      else if (status === PacketStatus.ERROR) {
        call.reject(new LibvirtError(call.procedure, decode(errorReply, payload)));
      } else throw new XdrError(`status ${status} is no status of a reply`);
    } catch (cause) {
      call.reject(new OutcomeUnknownError(call.procedure, "malformed-reply", cause));
      const problem = asError(cause).message;
      throw new ProtocolError(`the reply to ${call.procedure} is malformed: ${problem}`, { cause });
    }
  }

  #giveUp(call: Call, reason: Exclude<GivenUp, "malformed-reply">, cause: unknown): void {
    if (this.#queued.delete(call)) {
      call.reject(new NotSentError(call.procedure, reason, cause));
      return;
    }
    this.#sent.set(call.serial, undefined);
    call.reject(new OutcomeUnknownError(call.procedure, reason, cause));
  }
}
