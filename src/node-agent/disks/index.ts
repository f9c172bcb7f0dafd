import { lookup as systemLookup } from "node:dns";
import type { LookupFunction } from "node:net";
import { networkInterfaces } from "node:os";
import type { CachedImageStatus } from "../../api/hypervisor.ts";
import type { RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { type RunFilter, runFilter as spawnFilter } from "../host/filter.ts";
import { requireUid } from "../host/paths.ts";
import { createAddressPolicy } from "./address-policy.ts";
import { failureOf, ImageRefused } from "./failure.ts";
import { fetchImage } from "./fetch-image.ts";
import { createHttpSource } from "./http-source.ts";
import { ImageCache, type ImageState } from "./image-cache.ts";
import { createImageStore, type StoredImage } from "./image-store.ts";
import { defaultLimits } from "./limits.ts";
import { createOneAtATime } from "../host/one-at-a-time.ts";
import { createRootDisks, type RootDisks } from "./root-disk.ts";
import type {
  AllocatedImage,
  CachedImage,
  DiskLimits,
  DiskMetrics,
  DiskOptions,
  ImageFile,
  ImageOutcome,
  RoomLogger,
  RootDisk,
  RootDiskOutcome,
} from "./types.ts";

/** Image cache and root disks of this node. All verbs are idempotent. */
export interface Disks {
  /**
   * Makes the root disk: image fetched and checked, overlay of the right size on it.
   * Never waits for a download: it says "fetching" and announces the change later.
   * A disk that exists is never made again. Rejects when the host itself fails.
   */
  ensureRootDisk(want: RootDisk, options: DiskOptions): Promise<RootDiskOutcome>;
  /**
   * Brings an image to the node and, when it is there, does some work with it
   * meanwhile which it stays. It goes on staying when the work has written down
   * what `imagesOnDisks` reads. Never waits for a download, as above.
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
  /** Deletes the disk of a machine, and what is half-made of it. No-op when there is none. */
  remove(vmUid: string, options: DiskOptions): Promise<void>;
  /** UIDs of the machines that have anything here, finished or not. */
  list(options: DiskOptions): Promise<readonly string[]>;
  /** The images that the node holds, fetches or has refused, for Hypervisor.status.images; ordered by UID. */
  images(): readonly CachedImageStatus[];
  /** Calls the listener with the UID of an image whose state changed. Returns how to stop that. */
  onImageChange(listener: (imageUid: string) => void): () => void;
  /**
   * Forgets what no machine needs: the least recently used images beyond the
   * limit of the cache, and downloads and refusals of images that are not in
   * use. An image that a disk on this node starts from is in use, whatever the set says.
   */
  evict(inUse: ReadonlySet<string>, options: DiskOptions): Promise<void>;
  /** Ends the downloads; what has come of them stays for the next agent. */
  close(): Promise<void>;
}

export interface DisksSettings {
  /**
   * The agent's state directory: images are kept in `images` below it, root
   * disks in `disks`. QEMU's user must be able to pass through the directories above.
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
  readonly run: RunCommand;
  readonly files: Files;
  readonly logger: RoomLogger;
  /** Default: the system's clock. */
  readonly now?: () => Date;
  readonly metrics?: DiskMetrics;
  /** UIDs of the images that disks of this node need which are not of this room. Default: none. */
  readonly imagesOnDisks?: () => Promise<ReadonlySet<string>>;
  /** Default: runFilter of host/. */
  readonly runFilter?: RunFilter;
  /** How names are resolved. Default: the system's resolver. */
  readonly lookup?: LookupFunction;
  /** From 0 to 1; spreads retries. Default Math.random. */
  readonly random?: () => number;
}

/** A node that is full is looked at again after so long: somebody has to make room first. */
const NO_SPACE_RETRY_MS = 30_000;

const fetchingMessage = ({ name, file }: AllocatedImage): string =>
  `fetching image ${name} from ${file === undefined ? "its URL" : `${file} in the import directory`}`;

/** The outcome while there is no image to make a disk on. */
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

/** The outcome of making the overlay. An error of the host itself stays an error. */
const onImage = async (
  disks: RootDisks,
  want: RootDisk,
  image: StoredImage,
  options: DiskOptions,
): Promise<RootDiskOutcome> => {
  try {
    const path = await disks.ensure(want, image, options);
    return { kind: "ready", path, backing: { path: image.path, format: image.format } };
  } catch (error) {
    const failure = failureOf(error);
    const message = `image ${want.image.name}: ${failure.message}`;
    if (failure instanceof ImageRefused) return { kind: "refused", reason: failure.reason, message };
    if (failure.reason !== "NoSpace") throw error;
    return { kind: "failed", reason: "NoSpace", message, retryAfterMs: NO_SPACE_RETRY_MS };
  }
};

const clockOf = ({ now }: DisksSettings): (() => Date) => now ?? (() => new Date());

/** Of all interfaces, gateways of guests included: services of the node listen there too. */
const interfaceAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((entries) => (entries ?? []).map(({ address }) => address));

const openCache = async (settings: DisksSettings, disks: RootDisks) => {
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
  const context = { store, files, source, run, runFilter, importDirectory, limits, oneAtATime };
  const cache = new ImageCache({
    store,
    fetch: (image, { signal, onBytes }) => fetchImage(image, { ...context, onBytes }, { signal }),
    imagesOnDisks: async () =>
      new Set([...(await disks.imagesInUse()), ...((await settings.imagesOnDisks?.()) ?? [])]),
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
  const disks = createRootDisks(settings.stateDirectory, settings.files, settings.run);
  const { cache, source, store } = await openCache(settings, disks);
  const now = clockOf(settings);
  return {
    async ensureRootDisk(want, options) {
      options.signal.throwIfAborted();
      for (const uid of [want.vmUid, want.image.uid]) requireUid(uid);
      using _ = cache.hold(want.image.uid);
      const state = await cache.obtain(want.image);
      if (state.kind !== "ready") return withoutImage(want.image, state, now());
      const outcome = await onImage(disks, want, state.image, options);
      if (outcome.kind === "failed") cache.noteShortage();
      return outcome;
    },
    async useImage(image, work, { signal }) {
      signal.throwIfAborted();
      requireUid(image.uid);
      using _ = cache.hold(image.uid);
      const state = await cache.obtain(image);
      if (state.kind !== "ready") return withoutImage(image, state, now());
      return { kind: "done", result: await work(state.image) };
    },
    findImage: (imageUid) => store.find(imageUid),
    async adoptImage({ imageUid, path, checksum, virtualSizeBytes }, { signal }) {
      signal.throwIfAborted();
      await cache.adopt(imageUid, { format: "qcow2", checksum, virtualSizeBytes }, path);
    },
    async remove(vmUid, { signal }) {
      signal.throwIfAborted();
      await disks.remove(vmUid);
    },
    async list({ signal }) {
      signal.throwIfAborted();
      return disks.list();
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
