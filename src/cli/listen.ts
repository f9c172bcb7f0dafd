import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { CommandFailedError } from "./errors.ts";

export interface Listener {
  readonly address: string;
  readonly port: number;
  /** Closes it and all its connections. */
  close(): Promise<void>;
}

export interface ListenOptions {
  readonly address: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Settles when the connection is over. What goes wrong it says itself. */
  readonly serve: (socket: Socket) => Promise<void>;
}

/** Takes TCP connections. Throws CommandFailedError when the port is not to be had. */
export const listen = async ({ address, port, serve }: ListenOptions): Promise<Listener> => {
  const sockets = new Set<Socket>();
  // The other side decides when a connection is over, not the first FIN.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    void serve(socket)
      .catch(() => {})
      .finally(() => socket.destroy());
  });
  await startListening(server, address, port);
  const bound = server.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};

/** Throws CommandFailedError when the port is not to be had. */
export const startListening = async (server: Server, address: string, port: number): Promise<void> => {
  server.listen(port, address);
  try {
    await once(server, "listening");
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailedError(`cannot listen on ${address} port ${port}: ${why}; choose another port`, {
      cause,
    });
  }
};
