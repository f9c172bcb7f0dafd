import { lookup as systemLookup } from "node:dns";
import type { LookupFunction } from "node:net";
import { networkInterfaces } from "node:os";
import type { CachedImageStatus } from "../../api/hypervisor.ts";
import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { type RunFilter, runFilter as spawnFilter } from "../host/filter.ts";
import { requireUid } from "../host/paths.ts";
import { createAddressPolicy } from "./address-policy.ts";
import { fetchImage } from "./fetch-image.ts";
import { createHttpSource, type PeerSource } from "./http-source.ts";
import { ImageCache, type ImageState } from "./image-cache.ts";
import { createImageStore } from "./image-store.ts";
import { defaultLimits } from "./limits.ts";
import { createOneAtATime } from "../host/one-at-a-time.ts";
import type {
  AllocatedImage,
  CachedImage,
  DiskLimits,
  DiskMetrics,
  DiskOptions,
  ImageFile,
  ImageOutcome,
  RoomLogger,
} from "./types.ts";

export type { HttpAnswer, PeerSource } from "./http-source.ts";

/** The images of this node. All verbs are idempotent. */
export interface Disks {
  /**
   * Brings an image to the node and, when it is there, does some work with it
   * meanwhile which it stays. It goes on staying when the work has written down
   * what `imagesOnDisks` reads. Never waits for a download: it says "fetching"
   * and announces the change later. A result whose `reason` is NoSpace makes the
   * next `evict` keep only what is in use. Rejects when the work does.
   */
  useImage<T>(
    image: AllocatedImage,
    work: (cached: CachedImage) => Promise<T>,
    options: DiskOptions,
  ): Promise<{ readonly kind: "done"; readonly result: T } | ImageOutcome>;
  /** An image that is in the cache; undefined when it is not. */
  findImage(imageUid: string): Promise<CachedImage | undefined>;
  /** Takes a file that was made on this node in as an image: it is moved. No-op when the image is there. */
  adoptImage(file: ImageFile, options: DiskOptions): Promise<void>;
  /** The images that the node holds, fetches or has refused, for Hypervisor.status.images; ordered by UID. */
  images(): readonly CachedImageStatus[];
  /** Calls the listener with the UID of an image whose state changed. Returns how to stop that. */
  onImageChange(listener: (imageUid: string) => void): () => void;
  /**
   * Forgets what no machine needs: the least recently used images beyond the
   * limit of the cache, and downloads and refusals of images that are not in
   * use. An image that a disk on this node stands on is in use, whatever the set says.
   */
  evict(inUse: ReadonlySet<string>, options: DiskOptions): Promise<void>;
  /** Ends the downloads; what has come of them stays for the next agent. */
  close(): Promise<void>;
}

export interface DisksSettings {
  /**
   * The agent's state directory: images are kept in `images` below it. QEMU's
   * user must be able to pass through the directories above.
   */
  readonly stateDirectory: string;
  /** Where images of kind `file` are taken from. Without it there are none. Must be a root of `files`. */
  readonly importDirectory?: string | undefined;
  /** CIDRs that downloads may connect to although they are loopback, link-local or the node's own. */
  readonly allowedDownloadNetworks: readonly string[];
  /**
   * Addresses of the node that no interface of it has, such as one that a
   * router translates. Downloads connect neither to these nor to its interfaces'.
   */
  readonly nodeAddresses: () => readonly string[];
  readonly limits?: Partial<DiskLimits>;
  /** Where images come from that other nodes have made. Without it they are refused. */
  readonly peerSource?: PeerSource | undefined;
  readonly run: RunCommand;
  readonly files: Files;
  readonly logger: RoomLogger;
  /** Default: the system's clock. */
  readonly now?: () => Date;
  readonly metrics?: DiskMetrics;
  /** UIDs of the images that disks of this node stand on. Default: none. */
  readonly imagesOnDisks?: () => Promise<ReadonlySet<string>>;
  /** Default: runFilter of host/. */
  readonly runFilter?: RunFilter;
  /** How names are resolved. Default: the system's resolver. */
  readonly lookup?: LookupFunction;
  /** From 0 to 1; spreads retries. Default Math.random. */
  readonly random?: () => number;
}

const fetchingMessage = ({ name, file, nodeName }: AllocatedImage): string => {
  if (file !== undefined) return `fetching image ${name} from ${file} in the import directory`;
  return `fetching image ${name} from ${nodeName === undefined ? "its URL" : `node ${nodeName}`}`;
};

/** The outcome while there is no image to work with. */
const withoutImage = (
  image: AllocatedImage,
  state: Exclude<ImageState, { kind: "ready" }>,
  now: Date,
): ImageOutcome => {
  if (state.kind === "fetching") return { kind: "fetching", message: fetchingMessage(image) };
  const message = `image ${image.name}: ${state.message}`;
  if (state.kind === "refused") return { kind: "refused", reason: state.reason, message };
  const retryAfterMs = Math.max(0, state.retryAt - now.getTime());
  return { kind: "failed", reason: state.reason, message, retryAfterMs };
};

/** Whether somebody who worked with an image says that the node is full. */
const foundNoRoom = (result: unknown): boolean =>
  typeof result === "object" && result !== null && "reason" in result && result.reason === "NoSpace";

const clockOf = ({ now }: DisksSettings): (() => Date) => now ?? (() => new Date());

/** Of all interfaces, gateways of guests included: services of the node listen there too. */
const interfaceAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((entries) => (entries ?? []).map(({ address }) => address));

const openCache = async (settings: DisksSettings) => {
  const { stateDirectory, importDirectory, files, run } = settings;
  const limits: DiskLimits = { ...defaultLimits, ...settings.limits };
  const store = createImageStore(stateDirectory, files);
  const policy = createAddressPolicy({
    allowedNetworks: settings.allowedDownloadNetworks,
    nodeAddresses: () => [...settings.nodeAddresses(), ...interfaceAddresses()],
  });
  const source = createHttpSource({ ...limits, policy, lookup: settings.lookup ?? systemLookup });
  const runFilter = settings.runFilter ?? spawnFilter;
  const oneAtATime = createOneAtATime();
  const { peerSource } = settings;
  const fetching = { store, files, source, peerSource, run, runFilter };
  const context = { ...fetching, importDirectory, limits, oneAtATime };
  const cache = new ImageCache({
    store,
    fetch: (image, { signal, onBytes }) => fetchImage(image, { ...context, onBytes }, { signal }),
    imagesOnDisks: settings.imagesOnDisks ?? (async () => new Set()),
    cacheBytes: limits.cacheBytes,
    logger: settings.logger,
    now: clockOf(settings),
    random: settings.random ?? Math.random,
    metrics: settings.metrics,
  });
  await cache.load();
  return { cache, source, store };
};

/** Opens the room. Reads what the node holds first, so that `images` is right from the first call. */
export const createDisks = async (settings: DisksSettings): Promise<Disks> => {
  await settings.files.ensureDirectory(settings.stateDirectory, { mode: 0o711 });
  const { cache, source, store } = await openCache(settings);
  const now = clockOf(settings);
  return {
    async useImage(image, work, { signal }) {
      signal.throwIfAborted();
      requireUid(image.uid);
      using _ = cache.hold(image.uid);
      const state = await cache.obtain(image);
      if (state.kind !== "ready") return withoutImage(image, state, now());
      const result = await work(state.image);
      if (foundNoRoom(result)) cache.noteShortage();
      return { kind: "done", result };
    },
    findImage: (imageUid) => store.find(imageUid),
    async adoptImage({ imageUid, path, checksum, virtualSizeBytes }, { signal }) {
      signal.throwIfAborted();
      await cache.adopt(imageUid, { format: "qcow2", checksum, virtualSizeBytes }, path);
    },
    images: () => cache.statuses(),
    onImageChange: (listener) => cache.onChange(listener),
    evict: (inUse, { signal }) => cache.evict(inUse, signal),
    async close() {
      await cache.close();
      await source.close();
    },
  };
};
