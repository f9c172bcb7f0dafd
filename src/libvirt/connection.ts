import type { Downloaded, DownloadOptions } from "./call-on-lane.ts";
import { Channel } from "./channel.ts";
import { ConnectError } from "./errors.ts";
import type { DomainEventKind, DomainEvents } from "./events.ts";
import { handshake } from "./handshake.ts";
import type { KeepaliveOptions } from "./keepalive.ts";
import { FRAME_MAX_BYTES } from "./packet.ts";
import type { Procedure } from "./procedure.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { CallOptions, LibvirtVerbs } from "./types.ts";
import { openSocket } from "./socket.ts";
import { verbs } from "./verbs.ts";

export interface ConnectOptions {
  /** The unix socket of libvirtd: /run/libvirt/libvirt-sock on most systems. */
  readonly socketPath: string;
  /** Which hypervisor of the daemon. Default qemu:///system. https://libvirt.org/uri.html */
  readonly uri?: string;
  /** ConnectFlags, or-ed. Default 0: read and write. */
  readonly flags?: number;
  readonly keepalive?: KeepaliveOptions;
  /** Upper bound of connecting and opening, in ms. Default 30,000: a daemon that has just started is slow. */
  readonly connectTimeoutMs?: number;
  /**
   * Deadline of a call that names none, in ms. Default 60,000: libvirt itself
   * gives up on a guest that is stuck after at most 45 s, and says more.
   */
  readonly callTimeoutMs?: number;
  /**
   * How many calls may be with the daemon at a time; the others wait here.
   * Default 4, which is one less than the daemon's max_client_requests: at
   * that number it stops reading from the connection, keepalive included, and
   * then takes us for dead.
   */
  readonly maxInFlight?: number;
  /** Longest frame to accept, in bytes. Default: libvirt's own limit, 32 MiB. */
  readonly maxFrameBytes?: number;
  /** Gives up connecting when aborted. It does not close what is connected. */
  readonly signal?: AbortSignal;
}

/** One connection to libvirtd. It does not come back when lost; openLibvirt() makes a client that does. */
export interface LibvirtConnection extends LibvirtVerbs {
  /** Resolves with the reason when the connection has ended. Never rejects. */
  readonly ended: Promise<Error>;
  /** Calls that wait or are with the daemon. */
  readonly pendingCalls: number;
  /** Calls any procedure of the table. */
  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R>;
  /** Calls any procedure of the table that sends a stream, and takes all of that. */
  download<A, R>(procedure: Procedure<A, R>, args: A, options: DownloadOptions): Promise<Downloaded<R>>;
  /** Listens to one kind of event of all domains. Resolves with the way to stop listening. */
  subscribe<K extends DomainEventKind>(
    kind: K,
    listener: (event: DomainEvents[K]) => void,
    options?: CallOptions,
  ): Promise<() => void>;
  /** Ends the connection; what is under way rejects, with `reason` as its cause. Default: a ClosedError. */
  close(reason?: Error): Promise<void>;
}

/** Connects, authenticates and opens. Rejects with ConnectError. */
export const connectLibvirt = async (options: ConnectOptions): Promise<LibvirtConnection> => {
  const { socketPath, connectTimeoutMs = 30_000 } = options;
  const timeout = AbortSignal.timeout(connectTimeoutMs);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
  let channel: Channel | undefined;
  try {
    channel = new Channel(await openSocket(socketPath, signal), {
      maxInFlight: options.maxInFlight ?? 4,
      callTimeoutMs: options.callTimeoutMs ?? 60_000,
      maxFrameBytes: options.maxFrameBytes ?? FRAME_MAX_BYTES,
    });
    await handshake(channel, {
      uri: options.uri ?? "qemu:///system",
      flags: options.flags ?? 0,
      keepalive: options.keepalive ?? {},
      timeoutMs: connectTimeoutMs,
      signal,
    });
    return connectionOn(channel);
  } catch (error) {
    await channel?.close();
    throw new ConnectError(socketPath, error);
  }
};

const connectionOn = (channel: Channel): LibvirtConnection => {
  const subscriptions = new Subscriptions(channel);
  return {
    ...verbs(
      (_lane, procedure, args, options) => channel.call(procedure, args, options),
      (_lane, procedure, args, options) => channel.download(procedure, args, options),
    ),
    ended: channel.ended,
    get pendingCalls() {
      return channel.pendingCalls;
    },
    call: (procedure, args, options) => channel.call(procedure, args, options),
    download: (procedure, args, options) => channel.download(procedure, args, options),
    subscribe: (kind, listener, options) => subscriptions.add(kind, listener, options),
    close: (reason) => channel.close(reason),
  };
};
