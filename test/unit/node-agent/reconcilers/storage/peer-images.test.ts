import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "@jest/globals";
import { imageRoutes } from "../../../../../src/node-agent/reconcilers/storage/image-routes.ts";
import { createPeerImages } from "../../../../../src/node-agent/reconcilers/storage/peer-images.ts";
import { PeerProblemError } from "../../../../../src/node-agent/server/index.ts";
import { type PeerClient, PeerRefusal } from "../../../../../src/pki/index.ts";

const uid = "b1e6e7de-2bb4-4a39-8c0f-0f7f4ad9c702";
const content = Buffer.from("an image that another node has made");
const { signal } = new AbortController();

let closed = 0;
const [route] = imageRoutes({
  images: {
    findImage: async (asked) =>
      asked === uid
        ? { uid, path: "/image", checksum: "sha256:00", format: "qcow2", virtualSizeBytes: 1 }
        : undefined,
  },
  files: {
    openForReading: async () => ({
      sizeBytes: content.length,
      descriptor: -1,
      read: async () => content,
      chunks: async function* (offset = 0) {
        yield content.subarray(offset);
      },
      close: async () => void (closed += 1),
      [Symbol.asyncDispose]: async () => {},
    }),
  },
});
if (route?.kind !== "request") throw new Error("there is no route");

/** The other node's agent, without a network between. */
const peers: Pick<PeerClient, "request"> = {
  request: async (to, { path, headers = {} }) => {
    expect(to).toEqual({ endpoint: "192.0.2.2:9403", identity: { kind: "node-agent", nodeName: "node-2" } });
    try {
      const answer = await route.handle({
        peer: { kind: "node-agent", nodeName: "node-1" },
        requester: undefined,
        params: { uid: path.split("/").at(-1) ?? "" },
        query: new URLSearchParams(),
        headers,
        body: Readable.from([]),
        signal,
      });
      return Object.assign(answer.body as Readable, {
        statusCode: answer.status,
        headers: answer.headers,
      }) as never;
    } catch (error) {
      if (!(error instanceof PeerProblemError)) throw error;
      throw new PeerRefusal(error.status, { reason: error.reason, message: error.message });
    }
  },
};

const source = createPeerImages({
  peers: { ...peers, upgrade: () => Promise.reject(new Error("not asked for")) },
  endpointOf: async (nodeName) => (nodeName === "node-2" ? "192.0.2.2:9403" : undefined),
});
const get = (headers: Readonly<Record<string, string>>, path = `https://node-2/v1/images/${uid}`) =>
  source.get(new URL(path), { headers, signal });

describe("an image of another node", () => {
  test("comes as a whole, with a tag that stands for its content", async () => {
    const answer = await get({});
    expect([answer.status, answer.header("etag"), answer.header("content-length")]).toEqual([
      200,
      '"sha256:00"',
      String(content.length),
    ]);
    expect(await buffer(answer.body)).toEqual(content);
    expect(closed).toBe(1);
  });

  test.each<[string, Readonly<Record<string, string>>, number, number]>([
    ["goes on where it was broken off", { range: "bytes=9-", "if-range": '"sha256:00"' }, 206, 9],
    ["begins anew when it is another one now", { range: "bytes=9-", "if-range": '"sha256:11"' }, 200, 0],
    ["begins anew when a range makes no sense", { range: "bytes=999-" }, 200, 0],
  ])("%s", async (_, headers, status, first) => {
    const answer = await get(headers);
    expect(answer.status).toBe(status);
    expect(await buffer(answer.body)).toEqual(content.subarray(first));
  });

  test("that is not there has status 404", async () => {
    expect((await get({}, "https://node-2/v1/images/nothing")).status).toBe(404);
  });

  test("cannot be had while that node's agent serves nothing", async () => {
    await expect(get({}, `https://node-3/v1/images/${uid}`)).rejects.toThrow("node-3 serves nothing");
  });
});
