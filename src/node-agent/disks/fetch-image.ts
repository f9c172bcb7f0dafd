import type { ImageFormat } from "../../api/image.ts";
import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import type { RunFilter } from "../host/filter.ts";
import { verifyDigest } from "./digest.ts";
import { download } from "./download.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";
import { failedBecause, type HttpSource, type PeerSource } from "./http-source.ts";
import { importFile } from "./import-file.ts";
import { type HeaderFacts, inspectHeader } from "./image-format/inspect-header.ts";
import type { ImageStore, IncomingPaths, StoredImage } from "./image-store.ts";
import { formatBytes } from "./limits.ts";
import type { OneAtATime } from "../host/one-at-a-time.ts";
import { secondOpinion } from "./second-opinion.ts";
import type { AllocatedImage, DiskLimits } from "./types.ts";
import { unpack } from "./unpack.ts";

export interface FetchContext {
  readonly store: ImageStore;
  readonly files: Files;
  readonly source: HttpSource;
  /** Answers for images of other nodes. Without it they cannot be had. */
  readonly peerSource: PeerSource | undefined;
  readonly run: RunCommand;
  readonly runFilter: RunFilter;
  readonly importDirectory: string | undefined;
  readonly limits: DiskLimits;
  readonly onBytes: (count: number) => void;
  /** For work that takes memory and processor time: strangers' images must not add up to more than the node has. */
  readonly oneAtATime: OneAtATime;
}

/** One image on its way in. */
interface Arrival {
  readonly image: AllocatedImage;
  readonly paths: IncomingPaths;
  readonly context: FetchContext;
  readonly requireSpace: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

const spaceGuard =
  ({ store, limits }: FetchContext) =>
  async (bytes: number): Promise<void> => {
    const available = await store.availableBytes();
    if (available - bytes >= limits.reservedBytes) return;
    throw new FetchFailed(
      "NoSpace",
      `the image needs ${formatBytes(bytes)} more, the node's disk has ${formatBytes(available)} left, of which ${formatBytes(limits.reservedBytes)} are kept for running guests; free space, or delete images and machines`,
    );
  };

const urlOf = (text: string): URL => {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new ImageRefused(
    "NotFound",
    `${JSON.stringify(text.slice(0, 200))} is not an http or https URL; correct it`,
  );
};

/** An error of the network may pass, between nodes too. */
const fromPeer = ({ peerSource }: FetchContext): PeerSource => ({
  get: async (url, options) => {
    if (peerSource === undefined)
      throw new ImageRefused("NotFound", "this node does not fetch images from others");
    return peerSource.get(url, options).catch((error: unknown) => {
      throw failedBecause(url, error);
    });
  },
});

/** The file as it is served, whole, at `paths.download`. */
const obtain = async ({
  image,
  paths,
  context,
  requireSpace,
  signal,
}: Arrival): Promise<{ readonly wasResumed: boolean }> => {
  const { files, limits, source, importDirectory, onBytes } = context;
  const common = { path: paths.download, files, limits, requireSpace, signal };
  if (image.file !== undefined) {
    await importFile({ ...common, name: image.file, importDirectory });
    return { wasResumed: false };
  }
  const { nodeName, uid } = image;
  const recordPath = paths.downloadRecord;
  if (image.url === undefined && nodeName !== undefined) {
    const url = new URL(`https://${nodeName}/v1/images/${uid}`);
    return download({ ...common, url, recordPath, source: fromPeer(context), onBytes });
  }
  return download({ ...common, url: urlOf(image.url ?? ""), recordPath, source, onBytes });
};

const verify = async ({ image, paths, context, signal }: Arrival): Promise<string> => {
  await using file = await context.files.openForReading(paths.download);
  if (file === undefined) throw new FetchFailed("FetchFailed", "the downloaded file has disappeared");
  return await verifyDigest(file, image.checksum, { signal });
};

const isMismatch = (error: unknown): boolean =>
  error instanceof ImageRefused && error.reason === "ChecksumMismatch";

/** Obtains and verifies. Parts that do not fit together are no reason to refuse an image: it is fetched in one piece. */
const obtainVerified = async (arrival: Arrival): Promise<string> => {
  const { wasResumed } = await obtain(arrival);
  try {
    return await verify(arrival);
  } catch (error) {
    if (!wasResumed || !isMismatch(error)) throw error;
  }
  await arrival.context.files.remove(arrival.paths.downloadRecord);
  await obtain(arrival);
  return verify(arrival);
};

/** The path of the disk image proper. A file that is not compressed stays where a later attempt looks for it. */
const unpackIfNeeded = async ({ image, paths, ...arrival }: Arrival): Promise<string> => {
  if (image.compression === "None") return paths.download;
  const { requireSpace, signal, context } = arrival;
  const { files, runFilter, limits, oneAtATime } = context;
  const { compression } = image;
  const common = { files, runFilter, limits, requireSpace, signal };
  await oneAtATime("unpack", () =>
    unpack({ ...common, compression, from: paths.download, to: paths.unpacked }),
  );
  return paths.unpacked;
};

const examine = async (
  path: string,
  format: ImageFormat,
  { context, signal }: Arrival,
): Promise<HeaderFacts> => {
  const { files, run, limits, oneAtATime } = context;
  await using file = await files.openForReading(path);
  if (file === undefined) throw new FetchFailed("FetchFailed", "the unpacked file has disappeared");
  const header = await inspectHeader(file, format, limits);
  await oneAtATime("examine", () => secondOpinion(run, { path, format, header, signal }));
  return header;
};

/**
 * Brings one image into the store: fetched, compared with its digest, unpacked,
 * examined, published. Hostile content meets ever more complex readers on the
 * way, so the digest comes before the unpacking, our own look at the header
 * before QEMU's, and all of them before a guest's.
 *
 * Can be killed anywhere: the next call goes on, or begins again, from what is
 * in the incoming directory. Throws ImageRefused, FetchFailed, or an error of the host.
 */
export const fetchImage = async (
  image: AllocatedImage,
  context: FetchContext,
  { signal }: { readonly signal: AbortSignal },
): Promise<StoredImage> => {
  const { store } = context;
  const paths = await store.incoming(image.uid);
  const arrival: Arrival = { image, paths, context, requireSpace: spaceGuard(context), signal };
  const checksum = await obtainVerified(arrival);
  const disk = await unpackIfNeeded(arrival);
  const { virtualSizeBytes } = await examine(disk, image.format, arrival);
  signal.throwIfAborted();
  return store.publish(image.uid, { format: image.format, virtualSizeBytes, checksum }, disk);
};
