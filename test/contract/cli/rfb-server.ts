import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";

/** A colour as red, green, blue; 0 to 255 each. */
export type Colour = readonly [number, number, number];

/** A screen without a guest: what it shows is known, and what is typed is kept. */
export interface RfbServer {
  readonly port: number;
  /** Keys that viewers pressed, as X11 keysyms. */
  readonly pressed: readonly number[];
  /** How many viewers have come so far. */
  readonly viewers: () => number;
  /** Breaks the connections of all viewers. */
  disconnect(): void;
  stop(): Promise<void>;
}

export interface RfbServerOptions {
  readonly width: number;
  readonly height: number;
  readonly colourAt: (x: number, y: number) => Colour;
}

/** Reads exactly so many bytes at a time from a socket. */
class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async read(length: number): Promise<Buffer> {
    while (this.#rest.length < length) {
      const { value, done } = await this.#chunks.next();
      if (done === true) throw new Error("the viewer has left");
      this.#rest = Buffer.concat([this.#rest, value]);
    }
    const bytes = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return bytes;
  }
}

/** The server's side of RFB 3.8 without security, with raw pixels. https://www.rfc-editor.org/rfc/rfc6143 */
export const startRfbServer = async (options: RfbServerOptions): Promise<RfbServer> => {
  const pressed: number[] = [];
  const sockets = new Set<Socket>();
  let viewers = 0;
  const server = createServer((socket) => {
    viewers += 1;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    serve(socket, options, pressed).catch(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const disconnect = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    pressed,
    viewers: () => viewers,
    disconnect,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      disconnect();
      await closed;
    },
  };
};

const serve = async (socket: Socket, options: RfbServerOptions, pressed: number[]): Promise<void> => {
  const reader = new ByteReader(socket);
  socket.write("RFB 003.008\n");
  await reader.read(12);
  socket.write(Buffer.from([1, 1]));
  await reader.read(1);
  socket.write(Buffer.alloc(4));
  await reader.read(1);
  socket.write(serverInit(options));
  let shifts: readonly number[] = [16, 8, 0];
  for (;;) {
    const [type = 0] = await reader.read(1);
    if (type === 0) shifts = [...(await reader.read(19)).subarray(13, 16)];
    else if (type === 2) {
      const count = (await reader.read(3)).readUInt16BE(1);
      await reader.read(4 * count);
    } else if (type === 3) {
      const isIncremental = (await reader.read(9))[0] === 1;
      if (!isIncremental) socket.write(wholeScreen(options, shifts));
    } else if (type === 4) {
      const key = await reader.read(7);
      if (key[0] === 1) pressed.push(key.readUInt32BE(3));
    } else if (type === 5) await reader.read(5);
    else if (type === 6) await reader.read((await reader.read(7)).readUInt32BE(3));
    else throw new Error(`the viewer sent a message of type ${type}`);
  }
};

const NAME = "test";

const serverInit = ({ width, height }: RfbServerOptions): Buffer => {
  const message = Buffer.alloc(24 + NAME.length);
  message.writeUInt16BE(width, 0);
  message.writeUInt16BE(height, 2);
  // 32 bits a pixel, depth 24, little-endian, true colour; 255 for each, red from bit 16.
  message.set([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0], 4);
  message.writeUInt32BE(NAME.length, 20);
  message.write(NAME, 24);
  return message;
};

const wholeScreen = (
  { width, height, colourAt }: RfbServerOptions,
  [red = 16, green = 8, blue = 0]: readonly number[],
): Buffer => {
  const head = Buffer.alloc(16);
  head.writeUInt16BE(1, 2);
  head.writeUInt16BE(width, 8);
  head.writeUInt16BE(height, 10);
  const pixels = Buffer.alloc(4 * width * height);
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const [r, g, b] = colourAt(x, y);
      pixels.writeUInt32LE(((r << red) | (g << green) | (b << blue)) >>> 0, 4 * (y * width + x));
    }
  return Buffer.concat([head, pixels]);
};
