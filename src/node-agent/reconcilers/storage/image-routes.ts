import { Readable } from "node:stream";
import type { Disks } from "../../disks/index.ts";
import type { Files } from "../../host/files.ts";
import { isUid } from "../../host/paths.ts";
import { PeerProblemError, type Route } from "../../server/index.ts";

interface ImageRoutesOptions {
  readonly images: Pick<Disks, "findImage">;
  readonly files: Pick<Files, "openForReading">;
}

/** From which byte on is asked: what a node has of an image already, it does not ask for again. */
const firstByteOf = (range: string | undefined, sizeBytes: number): number | undefined => {
  const first = Number(/^bytes=([0-9]{1,15})-$/.exec(range ?? "")?.[1] ?? Number.NaN);
  return first < sizeBytes ? first : undefined;
};

/**
 * What other nodes' agents may fetch: images that are in this node's cache, by
 * UID. The digest is the ETag: who goes on with a download knows that it is the
 * same file. https://www.rfc-editor.org/rfc/rfc9110#section-14
 */
export const imageRoutes = ({ images, files }: ImageRoutesOptions): readonly Route[] => [
  {
    kind: "request",
    method: "GET",
    path: "/v1/images/:uid",
    allow: "node-agent",
    handle: async ({ params: { uid = "" }, headers }) => {
      const image = isUid(uid) ? await images.findImage(uid) : undefined;
      const file = image && (await files.openForReading(image.path));
      if (image === undefined || file === undefined) {
        throw new PeerProblemError(404, "NotFound", `the node has no image with the UID ${uid}`);
      }
      const { sizeBytes } = file;
      const etag = `"${image.checksum}"`;
      const isSame = headers["if-range"] === undefined || headers["if-range"] === etag;
      const first = isSame ? firstByteOf(headers.range, sizeBytes) : undefined;
      const body = Readable.from(file.chunks(first ?? 0));
      body.once("close", () => void file.close());
      return {
        status: first === undefined ? 200 : 206,
        headers: {
          "content-type": "application/octet-stream",
          "content-length": String(sizeBytes - (first ?? 0)),
          etag,
          ...(first === undefined ? {} : { "content-range": `bytes ${first}-${sizeBytes - 1}/${sizeBytes}` }),
        },
        body,
      };
    },
  },
];
