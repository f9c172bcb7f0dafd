import { Readable } from "node:stream";
import type { Disks } from "./disks/index.ts";
import type { Files } from "./host/files.ts";
import { isUid } from "./host/paths.ts";
import { PeerProblemError, type Route } from "./server/index.ts";

/** What other nodes' agents may fetch: images that are in this node's cache, by UID. The digest lets them check what came. */
export const imageRoutes = ({
  images,
  files,
}: {
  readonly images: Pick<Disks, "findImage">;
  readonly files: Pick<Files, "openForReading">;
}): readonly Route[] => [
  {
    kind: "request",
    method: "GET",
    path: "/v1/images/:uid",
    allow: "node-agent",
    handle: async ({ params: { uid = "" } }) => {
      const image = isUid(uid) ? await images.findImage(uid) : undefined;
      const file = image && (await files.openForReading(image.path));
      if (image === undefined || file === undefined) {
        throw new PeerProblemError(404, "NotFound", `the node has no image with the UID ${uid}`);
      }
      const body = Readable.from(file.chunks());
      body.once("close", () => void file.close());
      return {
        headers: {
          "content-type": "application/octet-stream",
          "content-length": String(file.sizeBytes),
          "vireo-checksum": image.checksum,
        },
        body,
      };
    },
  },
];
