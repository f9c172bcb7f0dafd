import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the server has under a path, and how it behaves there. */
export interface Served {
  readonly bytes?: Buffer;
  /** Sent as ETag; a Range is honoured only with it. */
  readonly etag?: string;
  /** Answer with this status and no content. */
  readonly status?: number;
  /** Answer with a redirect. */
  readonly location?: string;
  /** Send so many bytes of the answer, then nothing, until `release`. */
  readonly holdAfter?: number;
  /** Send so many bytes of the answer, then cut the connection. */
  readonly cutAfter?: number;
  /** Do not say how long the content is. */
  readonly hideLength?: boolean;
}

export interface Request {
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

/** An HTTP server on loopback that counts and misbehaves as told. */
export interface ImageServer extends AsyncDisposable {
  readonly requests: readonly Request[];
  readonly url: (path: string) => string;
  serve(path: string, served: Served): void;
  /** Lets the answers that are held go on. */
  release(): void;
}

interface Answer {
  readonly bytes: Buffer;
  readonly offset: number;
}

/** The part of the content that is to be sent: all of it unless a range of this very content is asked for. */
const answerTo = (
  request: IncomingMessage,
  { bytes = Buffer.alloc(0), etag }: Served,
): Answer | undefined => {
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const ifRange = request.headers["if-range"];
  if (range === null || etag === undefined || (ifRange !== undefined && ifRange !== etag))
    return { bytes, offset: 0 };
  const offset = Number(range[1]);
  return offset >= bytes.length ? undefined : { bytes: bytes.subarray(offset), offset };
};

const send = (response: ServerResponse, served: Served, answer: Answer, held: Promise<void>): void => {
  const total = served.bytes?.length ?? 0;
  const partial = { "content-range": `bytes ${answer.offset}-${total - 1}/${total}` };
  response.writeHead(answer.offset > 0 ? 206 : 200, {
    ...(served.hideLength === true ? {} : { "content-length": answer.bytes.length }),
    ...(served.etag === undefined ? {} : { etag: served.etag }),
    ...(answer.offset > 0 ? partial : {}),
  });
  const pause = served.holdAfter ?? served.cutAfter;
  if (pause === undefined) return void response.end(answer.bytes);
  response.write(answer.bytes.subarray(0, pause), () => {
    if (served.cutAfter === undefined) void held.then(() => response.end(answer.bytes.subarray(pause)));
    else response.destroy();
  });
};

const listen = (server: Server, host: string): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, host, () => resolve((server.address() as AddressInfo).port));
  });

export const startImageServer = async (host = "127.0.0.1"): Promise<ImageServer> => {
  const paths = new Map<string, Served>();
  const requests: Request[] = [];
  const held = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    const { range, "if-range": ifRange } = request.headers;
    requests.push({ path, range, ifRange: ifRange?.toString() });
    const served = paths.get(path) ?? { status: 404 };
    if (served.location !== undefined)
      return void response.writeHead(302, { location: served.location }).end();
    if (served.status !== undefined) return void response.writeHead(served.status).end();
    const answer = answerTo(request, served);
    if (answer === undefined) response.writeHead(416).end();
    else send(response, served, answer, held.promise);
  });
  const port = await listen(server, host);
  return {
    requests,
    url: (path) => `http://${host}:${port}${path}`,
    serve: (path, served) => void paths.set(path, served),
    release: () => held.resolve(),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        held.resolve();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};
