import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { domainEvents, eventBodies, type DomainEventKind } from "../../src/libvirt/events.ts";
import {
  encodePacket,
  PacketReader,
  PacketStatus,
  PacketType,
  Program,
  type Packet,
} from "../../src/libvirt/packet.ts";
import { procedures } from "../../src/libvirt/procedures.ts";
import { errorReply } from "../../src/libvirt/shapes.ts";
import { decode, encode, type Xdr } from "../../src/libvirt/xdr.ts";
import { answers } from "./libvirt-answers.ts";
import type { Context, ProcedureName } from "./libvirt-context.ts";
import { FakeDomains, FakeLibvirtError, type EventOf } from "./libvirt-domains.ts";

export interface FakeLibvirtOptions {
  /** What AUTH_LIST offers. Default: [0], none. */
  readonly authTypes?: readonly number[];
  /** Whether the keepalive feature is supported. Default true. */
  readonly keepalive?: boolean;
  /** As in libvirtd.conf: how many calls of a connection are taken before no more is read. Default 5. */
  readonly maxClientRequests?: number;
  readonly newUuid?: () => string;
}

/** What happens to the next call of a procedure instead of an answer. */
export type Fault =
  | { readonly kind: "error"; readonly code: number; readonly message: string }
  /** Carries nothing out and answers never, not even after release(). */
  | { readonly kind: "hang" }
  /** Carries it out, then ends the connection without an answer. */
  | { readonly kind: "drop-after" }
  /** Carries nothing out and answers with these bytes in place of a frame; with `end`, nothing follows them. */
  | { readonly kind: "garble"; readonly bytes: (call: Packet) => Uint8Array; readonly end?: boolean };

interface Client {
  readonly socket: Socket;
  readonly callbacks: Map<number, number>;
  readonly closeActions: Map<string, () => void>;
  outstanding: number;
}

const KEEPALIVE_PING = 1;
const KEEPALIVE_PONG = 2;

/** Bytes as a stream that the call has opened: in pieces, and then the piece of no bytes that says that it ends. */
const streamOf = (call: Packet, bytes: Buffer): Buffer => {
  const header = { ...call, type: PacketType.STREAM, status: PacketStatus.CONTINUE };
  const half = Math.ceil(bytes.length / 2);
  const pieces = [bytes.subarray(0, half), bytes.subarray(half), Buffer.alloc(0)];
  return Buffer.concat(pieces.map((piece) => encodePacket(header, piece)));
};

/** Numbers are those of a program. */
const keyOf = (program: number, number: number): string => `${program}/${number}`;

const names = new Map(
  Object.entries(procedures).map(
    ([name, { program, number }]) => [keyOf(program, number), name as ProcedureName] as const,
  ),
);

/**
 * libvirtd in this process: the real protocol on a real unix socket, with
 * domains that are only remembered. It can be told to fail, to hang, to answer
 * with anything, to be killed and to freeze.
 */
export class FakeLibvirtServer {
  readonly socketPath: string;
  readonly domains: FakeDomains;
  /** The procedures that were called, in order, refused ones included. */
  readonly calls: ProcedureName[] = [];
  /** The most calls that one connection ever had waiting here. */
  mostOutstanding = 0;
  readonly options: FakeLibvirtOptions;
  readonly #directory: string;
  readonly #clients = new Set<Client>();
  readonly #faults = new Map<ProcedureName, Fault[]>();
  readonly #held = new Map<ProcedureName, (() => void)[]>();
  #server: Server | undefined;
  #frozen = false;
  #lastCallback = 0;

  private constructor(directory: string, options: FakeLibvirtOptions) {
    this.#directory = directory;
    this.socketPath = join(directory, "libvirt-sock");
    this.options = options;
    this.domains = new FakeDomains((kind, event) => this.#tell(kind, event), options.newUuid ?? randomUUID);
  }

  static async start(options: FakeLibvirtOptions = {}): Promise<FakeLibvirtServer> {
    const fake = new FakeLibvirtServer(await mkdtemp(join(tmpdir(), "fake-libvirt-")), options);
    await fake.restart();
    return fake;
  }

  /** Listens again after kill(). The domains are as they were. */
  async restart(): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.socketPath, resolve);
    });
  }

  /** Ends at once, as kill -9 does: connections break, domains live on, and nothing is done about their end. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.#frozen = false;
    for (const { closeActions } of this.#clients) closeActions.clear();
    this.dropConnections();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }

  get connections(): number {
    return this.#clients.size;
  }

  dropConnections(): void {
    for (const { socket } of this.#clients) socket.destroy();
    this.#clients.clear();
  }

  /** Reads and answers nothing, as SIGSTOP does. */
  freeze(): void {
    this.#frozen = true;
    for (const { socket } of this.#clients) socket.pause();
  }

  thaw(): void {
    this.#frozen = false;
    for (const client of this.#clients) this.#readIfAllowed(client);
  }

  /** What happens to the next call of that procedure; several wait in line. */
  next(procedure: ProcedureName, fault: Fault): void {
    this.#faults.set(procedure, [...(this.#faults.get(procedure) ?? []), fault]);
  }

  /** Forgets the faults that no call has met. */
  clearFaults(): void {
    this.#faults.clear();
  }

  /** Lets calls of that procedure wait until the returned function is called. */
  hold(procedure: ProcedureName): () => void {
    this.#held.set(procedure, []);
    return () => {
      const waiting = this.#held.get(procedure) ?? [];
      this.#held.delete(procedure);
      for (const release of waiting) release();
    };
  }

  /** How many calls of that procedure wait since hold(). */
  waiting(procedure: ProcedureName): number {
    return this.#held.get(procedure)?.length ?? 0;
  }

  /** Sends bytes to every connection. */
  send(bytes: Uint8Array): void {
    for (const { socket } of this.#clients) socket.write(bytes);
  }

  #accept(socket: Socket): void {
    const client: Client = { socket, callbacks: new Map(), closeActions: new Map(), outstanding: 0 };
    const reader = new PacketReader();
    this.#clients.add(client);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#clients.delete(client);
      for (const action of client.closeActions.values()) action();
    });
    socket.on("data", (chunk: Buffer) => {
      for (const packet of reader.push(chunk)) this.#receive(client, packet);
    });
    if (this.#frozen) socket.pause();
  }

  #receive(client: Client, packet: Packet): void {
    if (packet.program === Program.KEEPALIVE) {
      if (packet.procedure === KEEPALIVE_PING) this.#sendKeepalive(client, KEEPALIVE_PONG);
      return;
    }
    if (packet.type === PacketType.STREAM) {
      // Finished or aborted, which is confirmed in the same way.
      client.socket.write(encodePacket({ ...packet, status: PacketStatus.OK }, Buffer.alloc(0)));
      return;
    }
    client.outstanding += 1;
    this.mostOutstanding = Math.max(this.mostOutstanding, client.outstanding);
    this.#readIfAllowed(client);
    const call = { ...packet, payload: Buffer.from(packet.payload) };
    const name = names.get(keyOf(call.program, call.procedure));
    const held = name === undefined ? undefined : this.#held.get(name);
    if (held === undefined) this.#answer(client, call, name);
    else held.push(() => this.#answer(client, call, name));
  }

  #readIfAllowed(client: Client): void {
    if (this.#frozen || client.outstanding >= (this.options.maxClientRequests ?? 5)) client.socket.pause();
    else client.socket.resume();
  }

  #answer(client: Client, call: Packet, name: ProcedureName | undefined): void {
    const fault = name === undefined ? undefined : this.#faults.get(name)?.shift();
    if (name !== undefined) this.calls.push(name);
    if (fault?.kind === "hang") return;
    if (fault?.kind === "garble") {
      client.socket.write(fault.bytes(call));
      if (fault.end === true) client.socket.end();
      return;
    }
    const reply = this.#reply(client, call, name, fault);
    if (fault?.kind === "drop-after") client.socket.destroy();
    else client.socket.write(reply);
    client.outstanding -= 1;
    this.#readIfAllowed(client);
  }

  #reply(client: Client, call: Packet, name: ProcedureName | undefined, fault: Fault | undefined): Buffer {
    const header = { ...call, type: PacketType.REPLY };
    try {
      if (fault?.kind === "error") throw new FakeLibvirtError(fault.code, fault.message);
      if (name === undefined) throw new FakeLibvirtError(39, `unknown procedure: ${call.procedure}`);
      const streamed: Buffer[] = [];
      const result = this.#carryOut(client, name, call.payload, (bytes) => streamed.push(bytes));
      const good = encodePacket({ ...header, status: PacketStatus.OK }, result);
      return Buffer.concat([good, ...streamed.map((bytes) => streamOf(call, bytes))]);
    } catch (error) {
      if (!(error instanceof FakeLibvirtError)) throw error;
      const details = { code: error.code, domain: 10, level: 2, message: error.message };
      return encodePacket({ ...header, status: PacketStatus.ERROR }, encode(errorReply, details));
    }
  }

  #carryOut(client: Client, name: ProcedureName, payload: Buffer, stream: (bytes: Buffer) => void): Buffer {
    const { args, result } = procedures[name] as { args: Xdr<unknown>; result: Xdr<unknown> };
    const answer = answers[name] as (args: unknown, context: unknown) => unknown;
    const context: Context = {
      server: this,
      domains: this.domains,
      register: (id) => this.#register(client, id),
      onClose: (key, action) => {
        if (action === undefined) client.closeActions.delete(key);
        // A call that outlives its connection: the connection's end is noticed when the call has ended.
        else if (client.socket.destroyed) setImmediate(action);
        else client.closeActions.set(key, action);
      },
      stream,
    };
    return encode(result, answer(decode(args, payload), context));
  }

  #register(client: Client, eventId: number): number {
    this.#lastCallback += 1;
    client.callbacks.set(this.#lastCallback, eventId);
    return this.#lastCallback;
  }

  #tell<K extends DomainEventKind>(kind: K, event: EventOf<K>): void {
    const { id, message } = domainEvents[kind];
    const header = {
      program: Program.REMOTE,
      procedure: message.number,
      type: PacketType.MESSAGE,
      serial: 0,
      status: PacketStatus.OK,
    };
    for (const { socket, callbacks } of this.#clients) {
      for (const [callbackID, eventId] of callbacks) {
        if (eventId !== id) continue;
        const body = encode(eventBodies[kind] as Xdr<unknown>, { callbackID, ...event });
        socket.write(encodePacket(header, body));
      }
    }
  }

  #sendKeepalive({ socket }: Client, procedure: number): void {
    const header = {
      program: Program.KEEPALIVE,
      procedure,
      type: PacketType.MESSAGE,
      serial: 0,
      status: PacketStatus.OK,
    };
    socket.write(encodePacket(header, Buffer.alloc(0)));
  }
}
