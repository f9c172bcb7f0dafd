import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";

export interface SocketRelay {
  /** Bytes that have passed from those who connect. */
  readonly passed: number;
  /** Ends all connections, and takes no more. */
  stop(): Promise<void>;
}

/** Listens on one unix socket and passes everything on to another, both ways. */
export const startSocketRelay = async (from: string, to: string): Promise<SocketRelay> => {
  const sockets = new Set<Socket>();
  let passed = 0;
  const server = createServer((client) => {
    const onward = connect({ path: to });
    for (const socket of [client, onward]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    client.on("data", ({ length }: Buffer) => {
      passed += length;
    });
    client.pipe(onward).pipe(client);
  });
  server.listen(from);
  await once(server, "listening");
  // For QEMU, which runs as another user.
  await chmod(from, 0o777);
  return {
    get passed() {
      return passed;
    },
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};
