import { setTimeout as delay } from "node:timers/promises";

import { BackOff, type BackOffOptions } from "./back-off.ts";
import type { Downloaded, DownloadOptions } from "./call-on-lane.ts";
import { connectLibvirt, type ConnectOptions, type LibvirtConnection } from "./connection.ts";
import { asError, ClosedError, NotSentError } from "./errors.ts";
import type { DomainEventKind, DomainEvents } from "./events.ts";
import { Listeners } from "./listeners.ts";
import type { Procedure } from "./procedure.ts";
import { openSession, type Session } from "./session.ts";
import type { CallOptions, Lane, LibvirtClient } from "./types.ts";
import { verbs } from "./verbs.ts";

export interface ClientOptions extends ConnectOptions {
  /** Kinds of events to receive. Default: lifecycle only. */
  readonly events?: readonly DomainEventKind[];
  /**
   * How many connections carry the long lane. Default 3: with 4 calls each that
   * makes 12 long calls per client, which leaves 8 of the daemon's 20 workers
   * (max_workers) to everything else.
   */
  readonly longConnections?: number;
  readonly backOff?: BackOffOptions;
  /** Closes the client when aborted. */
  readonly signal?: AbortSignal;
}

type AnyEvent = DomainEvents[DomainEventKind];

/**
 * Keeps one session with the daemon: connect, tell, wait for its end, tell,
 * pause, again. There is no state but the session, so every reconnection is
 * the same as the first connection.
 */
class ReconnectingClient {
  readonly connectedListeners = new Listeners<void>();
  readonly disconnectedListeners = new Listeners<Error>();
  readonly #eventListeners: ReadonlyMap<DomainEventKind, Listeners<AnyEvent>>;
  readonly #options: ClientOptions;
  readonly #backOff: BackOff;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  readonly #dedicated = new Set<LibvirtConnection>();
  #session: Session | undefined;
  #reason: Error = new Error("not connected yet");

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#backOff = new BackOff(options.backOff);
    const kinds = options.events ?? ["lifecycle"];
    this.#eventListeners = new Map(kinds.map((kind) => [kind, new Listeners<AnyEvent>()]));
    options.signal?.addEventListener("abort", () => void this.close(), {
      once: true,
      signal: this.#closing.signal,
    });
    this.#running = this.#run();
    if (options.signal?.aborted === true) void this.close();
  }

  get connected(): boolean {
    return this.#session !== undefined;
  }

  async call<A, R>(lane: Lane, procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R> {
    if (this.#session === undefined) throw new NotSentError(procedure.name, "disconnected", this.#reason);
    return this.#session.connectionOf(lane).call(procedure, args, options);
  }

  async download<A, R>(
    lane: Lane,
    procedure: Procedure<A, R>,
    args: A,
    options: DownloadOptions,
  ): Promise<Downloaded<R>> {
    if (this.#session === undefined) throw new NotSentError(procedure.name, "disconnected", this.#reason);
    return this.#session.connectionOf(lane).download(procedure, args, options);
  }

  async openDedicated({ signal, timeoutMs }: CallOptions = {}): Promise<LibvirtConnection> {
    const closing = this.#closing.signal;
    const connection = await connectLibvirt({
      ...this.#options,
      ...(timeoutMs === undefined ? {} : { connectTimeoutMs: timeoutMs }),
      signal: signal === undefined ? closing : AbortSignal.any([signal, closing]),
    });
    this.#dedicated.add(connection);
    void connection.ended.then(() => this.#dedicated.delete(connection));
    // Closed while the last reply was on its way: close() has not seen this connection.
    if (closing.aborted) await connection.close(asError(closing.reason));
    return connection;
  }

  onEvent<K extends DomainEventKind>(kind: K, listener: (event: DomainEvents[K]) => void): () => void {
    const listeners = this.#eventListeners.get(kind);
    if (listeners === undefined) {
      throw new RangeError(`events of kind ${kind} are not received: name it in the options' "events"`);
    }
    return (listeners as Listeners<unknown> as Listeners<DomainEvents[K]>).add(listener);
  }

  async whenConnected({ signal, timeoutMs }: CallOptions = {}): Promise<void> {
    const signals = [
      this.#closing.signal,
      ...(signal === undefined ? [] : [signal]),
      ...(timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)]),
    ];
    const givenUp = AbortSignal.any(signals);
    givenUp.throwIfAborted();
    if (this.connected) return;
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        remove();
        reject(givenUp.reason);
      };
      const remove = this.connectedListeners.add(() => {
        remove();
        givenUp.removeEventListener("abort", onAbort);
        resolve();
      });
      givenUp.addEventListener("abort", onAbort, { once: true });
    });
  }

  async close(): Promise<void> {
    const reason = new ClosedError("the client was closed");
    this.#closing.abort(reason);
    await Promise.all([...this.#dedicated].map((connection) => connection.close(reason)));
    await this.#session?.close(reason);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      this.#reason = await this.#connectOnce(signal);
      if (signal.aborted) return;
      this.disconnectedListeners.tell(this.#reason);
      await delay(this.#backOff.next(), undefined, { signal }).catch(() => {});
    }
  }

  /** Resolves with the reason when the session has ended or did not come about. */
  async #connectOnce(signal: AbortSignal): Promise<Error> {
    try {
      const session = await openSession({
        ...this.#options,
        signal,
        longConnections: this.#options.longConnections ?? 3,
        events: [...this.#eventListeners.keys()],
        onEvent: (kind, event) => this.#eventListeners.get(kind)?.tell(event),
      });
      const reason = await this.#use(session, signal);
      // The calls on its other connections are lost for the same reason.
      await session.close(reason);
      return reason;
    } catch (error) {
      return asError(error);
    }
  }

  /** Resolves with the reason when the session has ended. */
  async #use(session: Session, signal: AbortSignal): Promise<Error> {
    // Closed while the last reply was on its way: close() has not seen this session.
    if (signal.aborted) return asError(signal.reason);
    const connectedAt = performance.now();
    this.#session = session;
    this.connectedListeners.tell();
    const reason = await session.ended;
    this.#session = undefined;
    this.#backOff.succeeded(performance.now() - connectedAt);
    return reason;
  }
}

/**
 * A client that connects, stays connected as well as it can, and tells when it
 * is and is not. Returns at once, not yet connected.
 */
export const openLibvirt = (options: ClientOptions): LibvirtClient => {
  const client = new ReconnectingClient(options);
  return {
    ...verbs(
      (lane, procedure, args, callOptions) => client.call(lane, procedure, args, callOptions),
      (lane, procedure, args, callOptions) => client.download(lane, procedure, args, callOptions),
    ),
    get connected() {
      return client.connected;
    },
    whenConnected: (callOptions) => client.whenConnected(callOptions),
    onConnected: (listener) => client.connectedListeners.add(listener),
    onDisconnected: (listener) => client.disconnectedListeners.add(listener),
    onDomainLifecycle: (listener) => client.onEvent("lifecycle", listener),
    onDomainEvent: (kind, listener) => client.onEvent(kind, listener),
    call: (procedure, args, { lane = "long", ...callOptions } = {}) =>
      client.call(lane, procedure, args, callOptions),
    openDedicated: (callOptions) => client.openDedicated(callOptions),
    close: () => client.close(),
  };
};
