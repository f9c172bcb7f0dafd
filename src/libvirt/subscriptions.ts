import type { Channel } from "./channel.ts";
import { domainEvents, type DomainEventKind, type DomainEvents } from "./events.ts";
import { Listeners } from "./listeners.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions } from "./types.ts";

interface Subscription<E> {
  readonly listeners: Listeners<E>;
  /** Settles as the daemon's answer to the registration. */
  readonly registered: Promise<unknown>;
}

type Kinds = { [K in DomainEventKind]?: Subscription<DomainEvents[K]> };

/**
 * Who listens to which events on one connection.
 *
 * A kind is registered with the daemon once, however many listen, and until
 * the connection ends: the daemon sends an event once for each registration,
 * so more of them would only multiply it.
 */
export class Subscriptions {
  readonly #channel: Channel;
  readonly #kinds: Kinds = {};

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Resolves with the way to stop listening when the daemon has registered the kind. */
  async add<K extends DomainEventKind>(
    kind: K,
    listener: (event: DomainEvents[K]) => void,
    options?: CallOptions,
  ): Promise<() => void> {
    const subscription = this.#subscription(kind, options);
    const remove = subscription.listeners.add(listener);
    try {
      await subscription.registered;
      return remove;
    } catch (error) {
      remove();
      delete this.#kinds[kind];
      throw error;
    }
  }

  #subscription<K extends DomainEventKind>(kind: K, options?: CallOptions): Subscription<DomainEvents[K]> {
    const known: Subscription<DomainEvents[K]> | undefined = this.#kinds[kind];
    if (known !== undefined) return known;
    const { id, message } = domainEvents[kind];
    const listeners = new Listeners<DomainEvents[K]>();
    // Before registering: the first event may arrive in the same chunk as the reply.
    this.#channel.onMessage<DomainEvents[K]>(message, (event) => listeners.tell(event));
    const registration = { eventID: id, dom: undefined };
    const registered = this.#channel.call(
      procedures.connectDomainEventCallbackRegisterAny,
      registration,
      options,
    );
    const subscription = { listeners, registered };
    this.#kinds[kind] = subscription as Kinds[K];
    return subscription;
  }
}
