import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { joinStreams } from "../../pki/index.ts";
import type { Files } from "../host/files.ts";
import { uidPath } from "../host/paths.ts";

/**
 * What QEMU sends in a migration leaves it through two unix sockets. The agents
 * carry both between the nodes; QEMU itself talks to nobody but its node.
 *
 *   <state directory>/migrations/<migration uid>/<random>/memory, disks
 *
 * QEMU, which is not root, makes the sockets at the target: the directory is
 * open to all who know its name, and nobody but root can list the one above.
 */
export const channels = ["memory", "disks"] as const;
export type Channel = (typeof channels)[number];

export interface WayOptions {
  readonly stateDirectory: string;
  readonly files: Files;
}

/** The sockets of one migration on this node. */
export interface Way {
  pathOf(channel: Channel): string;
  uriOf(channel: Channel): string;
}

const TRAVERSE_ONLY = { mode: 0o711 } as const;
const FOR_WHO_KNOWS = { mode: 0o733 } as const;

const placeOf = (stateDirectory: string, migrationUid: string): string =>
  uidPath(join(stateDirectory, "migrations"), migrationUid);

export const makeWay = async (migrationUid: string, { stateDirectory, files }: WayOptions): Promise<Way> => {
  const place = placeOf(stateDirectory, migrationUid);
  const directory = join(place, randomBytes(8).toString("hex"));
  await files.remove(place);
  await files.ensureDirectory(join(stateDirectory, "migrations"), TRAVERSE_ONLY);
  await files.ensureDirectory(place, TRAVERSE_ONLY);
  await files.ensureDirectory(directory, FOR_WHO_KNOWS);
  const pathOf = (channel: Channel): string => join(directory, channel);
  return { pathOf, uriOf: (channel) => `unix://${pathOf(channel)}` };
};

export const removeWay = (migrationUid: string, { stateDirectory, files }: WayOptions): Promise<void> =>
  files.remove(placeOf(stateDirectory, migrationUid));

/** The source's sockets: whatever connects is carried to where `open` leads, until this is closed. */
export interface Carriers extends AsyncDisposable {
  readonly way: Way;
}

export const openCarriers = async (
  way: Way,
  open: (channel: Channel) => Promise<Duplex>,
): Promise<Carriers> => {
  const streams = new Set<Duplex>();
  const keep = <T extends Duplex>(stream: T): T => {
    streams.add(stream);
    stream.on("error", () => {});
    stream.once("close", () => streams.delete(stream));
    return stream;
  };
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const stream of streams) stream.destroy();
    await Promise.all(closed);
  };
  for (const channel of channels) {
    const server = createServer({ allowHalfOpen: true }, (local) => {
      keep(local);
      open(channel).then(
        (remote) => joinStreams(local, keep(remote)),
        () => local.destroy(),
      );
    });
    server.listen({ path: way.pathOf(channel), readableAll: true, writableAll: true });
    await once(server, "listening");
    servers.push(server);
  }
  return { way, [Symbol.asyncDispose]: close };
};

/** The other end at the target: a connection to what QEMU listens on. */
export const connectTo = async (way: Way, channel: Channel, signal: AbortSignal): Promise<Duplex> => {
  const socket = connect({ path: way.pathOf(channel), allowHalfOpen: true });
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
};
