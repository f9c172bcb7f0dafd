import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PacketReader, PacketType, Program, type Packet } from "../../../src/libvirt/packet.ts";

/** One connection through the relay, as its packets told. */
export interface RelayedConnection {
  /** Calls that were sent and not yet replied to. */
  outstanding: number;
  mostOutstanding: number;
  /** Keepalive answers that the daemon has sent. */
  pongs: number;
}

export interface RpcRelay {
  readonly socketPath: string;
  readonly connections: readonly RelayedConnection[];
  stop(): Promise<void>;
}

const KEEPALIVE_PONG = 2;

const observe = (socket: Socket, other: Socket, see: (packet: Packet) => void): void => {
  const reader = new PacketReader();
  socket.on("data", (chunk: Buffer) => {
    for (const packet of reader.push(chunk)) see(packet);
    other.write(chunk);
  });
  socket.on("error", () => {});
  socket.on("close", () => other.destroy());
};

/** Stands between a client and a daemon, passes everything on, and counts. */
export const startRpcRelay = async (daemonSocket: string): Promise<RpcRelay> => {
  const directory = await mkdtemp(join(tmpdir(), "rpc-relay-"));
  const socketPath = join(directory, "sock");
  const connections: RelayedConnection[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const daemon = connect({ path: daemonSocket });
    const seen: RelayedConnection = { outstanding: 0, mostOutstanding: 0, pongs: 0 };
    connections.push(seen);
    for (const socket of [client, daemon]) sockets.add(socket);
    observe(client, daemon, ({ program, type }) => {
      if (program !== Program.REMOTE || type !== PacketType.CALL) return;
      seen.outstanding += 1;
      seen.mostOutstanding = Math.max(seen.mostOutstanding, seen.outstanding);
    });
    observe(daemon, client, ({ program, procedure, type }) => {
      if (program === Program.KEEPALIVE && procedure === KEEPALIVE_PONG) seen.pongs += 1;
      if (program === Program.REMOTE && type === PacketType.REPLY) seen.outstanding -= 1;
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  return {
    socketPath,
    connections,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
};
