import { connectLibvirt, type ConnectOptions, type LibvirtConnection } from "./connection.ts";
import { asError } from "./errors.ts";
import type { DomainEventKind, DomainEvents } from "./events.ts";
import type { Lane } from "./types.ts";

export interface SessionOptions extends ConnectOptions {
  readonly events: readonly DomainEventKind[];
  readonly longConnections: number;
  readonly onEvent: <K extends DomainEventKind>(kind: K, event: DomainEvents[K]) => void;
}

/** The connections of a client to one run of the daemon. They live and end together. */
export interface Session {
  /** Resolves with the reason when the first connection has ended. Never rejects. */
  readonly ended: Promise<Error>;
  /** The connection for the next call of that lane. */
  connectionOf(lane: Lane): LibvirtConnection;
  /** Ends all connections, for that reason. */
  close(reason: Error): Promise<void>;
}

/** Opens all connections and registers for events. Rejects when any of it fails, leaving nothing open. */
export const openSession = async (options: SessionOptions): Promise<Session> => {
  const opened = await Promise.allSettled(
    Array.from({ length: 1 + options.longConnections }, () => connectLibvirt(options)),
  );
  const connections = opened.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const close = async (reason: Error): Promise<void> => {
    await Promise.all(connections.map((connection) => connection.close(reason)));
  };
  try {
    for (const result of opened) if (result.status === "rejected") throw result.reason;
    const [control, ...long] = connections as [LibvirtConnection, ...LibvirtConnection[]];
    await subscribeAll(control, options);
    return {
      ended: Promise.race(connections.map((connection) => connection.ended)),
      connectionOf: (lane) => (lane === "control" ? control : leastBusy(long, control)),
      close,
    };
  } catch (error) {
    await close(asError(error));
    throw error;
  }
};

const subscribeAll = async (control: LibvirtConnection, options: SessionOptions): Promise<void> => {
  const { connectTimeoutMs, signal } = options;
  const bounds = {
    ...(connectTimeoutMs === undefined ? {} : { timeoutMs: connectTimeoutMs }),
    ...(signal === undefined ? {} : { signal }),
  };
  await Promise.all(
    options.events.map((kind) => control.subscribe(kind, (event) => options.onEvent(kind, event), bounds)),
  );
};

const leastBusy = (long: readonly LibvirtConnection[], control: LibvirtConnection): LibvirtConnection =>
  long.reduce<LibvirtConnection | undefined>(
    (best, next) => (best === undefined || next.pendingCalls < best.pendingCalls ? next : best),
    undefined,
  ) ?? control;
