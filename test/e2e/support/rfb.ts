import type { Duplex } from "node:stream";

import type { Picture } from "./picture.ts";

/*
 * As much of a VNC viewer as takes one picture.
 * https://www.rfc-editor.org/rfc/rfc6143
 */

const VERSION = "RFB 003.008\n";
const NO_AUTHENTICATION = 1;
const RAW = 0;
const FRAMEBUFFER_UPDATE = 0;
const BELL = 2;

type Take = (count: number) => Promise<Buffer>;

/** Reads exactly so many bytes, whatever pieces they come in. */
const takerOf = (stream: Duplex): Take => {
  const chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  let rest = Buffer.alloc(0);
  return async (count) => {
    while (rest.length < count) {
      const { value, done } = await chunks.next();
      if (done === true) throw new Error(`the screen was closed after ${rest.length} of ${count} bytes`);
      rest = Buffer.concat([rest, value]);
    }
    const taken = rest.subarray(0, count);
    rest = rest.subarray(count);
    return taken;
  };
};

/** Agrees on a version and on no password, and resolves with the size of the screen. */
const greet = async (stream: Duplex, take: Take): Promise<{ width: number; height: number }> => {
  const version = (await take(VERSION.length)).toString("latin1");
  if (version !== VERSION) throw new Error(`the screen speaks ${JSON.stringify(version)}`);
  stream.write(VERSION);
  const types = await take((await take(1)).readUInt8());
  if (!types.includes(NO_AUTHENTICATION)) throw new Error(`the screen asks for one of ${[...types].join()}`);
  stream.write(Buffer.of(NO_AUTHENTICATION));
  if ((await take(4)).readUInt32BE() !== 0) throw new Error("the screen lets nobody in");
  const shared = Buffer.of(1);
  stream.write(shared);
  const start = await take(24);
  await take(start.readUInt32BE(20));
  return { width: start.readUInt16BE(0), height: start.readUInt16BE(2) };
};

/** Pixels of four bytes, 0x00RRGGBB in the order of the machine that sends them least significant first. */
const setPixelFormat = Buffer.of(0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0);
const setEncodings = Buffer.of(2, 0, 0, 1, 0, 0, 0, RAW);

const askForAll = (width: number, height: number): Buffer => {
  const request = Buffer.alloc(10);
  request.writeUInt8(3, 0);
  request.writeUInt16BE(width, 6);
  request.writeUInt16BE(height, 8);
  return request;
};

const takeRectangle = async (take: Take, { width, pixels }: Picture): Promise<number> => {
  const head = await take(12);
  const [left, top, columns, rows] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at)) as [
    number,
    number,
    number,
    number,
  ];
  if (head.readInt32BE(8) !== RAW) throw new Error(`nobody asked for encoding ${head.readInt32BE(8)}`);
  const data = await take(columns * rows * 4);
  for (let row = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1)
      pixels[(top + row) * width + left + column] =
        data.readUInt32LE((row * columns + column) * 4) & 0xff_ff_ff;
  return columns * rows;
};

/** Takes a picture of the screen at the other end. The caller ends the stream. */
export const takePicture = async (stream: Duplex): Promise<Picture> => {
  const take = takerOf(stream);
  const { width, height } = await greet(stream, take);
  const picture = { width, height, pixels: new Uint32Array(width * height) };
  stream.write(Buffer.concat([setPixelFormat, setEncodings, askForAll(width, height)]));
  for (let missing = width * height; missing > 0;) {
    const type = (await take(1)).readUInt8();
    if (type === BELL) continue;
    if (type !== FRAMEBUFFER_UPDATE) throw new Error(`the screen says something of type ${type}`);
    const rectangles = (await take(3)).readUInt16BE(1);
    for (let count = 0; count < rectangles; count += 1) missing -= await takeRectangle(take, picture);
  }
  return picture;
};
