import type { CachedImageStatus } from "../../api/hypervisor.ts";
import { planEviction } from "./eviction.ts";
import { failureOf } from "./failure.ts";
import type { ImageFacts, ImageStore, StoredImage } from "./image-store.ts";
import { reportImage, retryDelay, type Verdict, verdictOf } from "./image-verdict.ts";
import { createOneAtATime } from "../host/one-at-a-time.ts";
import type { AllocatedImage, DiskMetrics, RoomLogger } from "./types.ts";

/** An image as a caller finds it at this moment. */
export type ImageState = Verdict | { readonly kind: "fetching" };

/** Fetches one image into the store; `onBytes` tells that the source still sends. */
export type Fetch = (
  image: AllocatedImage,
  options: { readonly signal: AbortSignal; readonly onBytes: (count: number) => void },
) => Promise<StoredImage>;

export interface ImageCacheOptions {
  readonly store: ImageStore;
  readonly fetch: Fetch;
  /** UIDs of images that disks on this node start from. */
  readonly imagesOnDisks: () => Promise<ReadonlySet<string>>;
  readonly cacheBytes: number;
  readonly logger: RoomLogger;
  readonly now: () => Date;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly metrics: DiskMetrics | undefined;
}

interface Entry {
  verdict: Verdict | undefined;
  fetch: { readonly controller: AbortController; readonly ended: Promise<void> } | undefined;
  failuresInARow: number;
}

/** Within this time a second use of an image is not written down again. */
const TOUCH_INTERVAL_MS = 60_000;

/**
 * The images of a node and what is going on with each of them.
 *
 * There is one entry for an image, whoever asks for it, so that any number of
 * machines share one download. Work on the files of one image is done one
 * piece at a time: a fetch never meets the removal of what an earlier one left.
 *
 * An image is removed in this order: its entry goes, so that nobody is told
 * "ready" any more; then holds are looked at, then disks; then its files go.
 * Who was told "ready" before has a hold, or has let go of it after writing
 * down on disk what it uses. Who asks later gets a fetch that waits for the
 * removal and then looks at what there is.
 */
export class ImageCache {
  readonly #options: ImageCacheOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #holds = new Map<string, number>();
  readonly #listeners = new Set<(imageUid: string) => void>();
  readonly #oneAtATime = createOneAtATime();
  #isShortOfSpace = false;
  #isClosed = false;

  constructor(options: ImageCacheOptions) {
    this.#options = options;
  }

  /** Learns what the store has. */
  async load(): Promise<void> {
    const { store, logger } = this.#options;
    await store.prepare();
    for (const uid of await store.list()) {
      const image = await store.find(uid);
      if (image === undefined)
        logger.warn({ image: uid }, "a cached image is not whole; it is fetched again when it is needed");
      else this.#entries.set(uid, newEntry({ kind: "ready", image }));
    }
  }

  /** Keeps an image from being removed until the hold is disposed of. */
  hold(uid: string): Disposable {
    this.#holds.set(uid, (this.#holds.get(uid) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        const left = (this.#holds.get(uid) ?? 1) - 1;
        if (left === 0) this.#holds.delete(uid);
        else this.#holds.set(uid, left);
      },
    };
  }

  /** The state of an image; a fetch is begun when one is due, and not waited for. */
  async obtain(image: AllocatedImage): Promise<ImageState> {
    const { uid } = image;
    const known = this.#entries.get(uid);
    if (known?.verdict?.kind === "ready") {
      if (await this.#use(uid)) return known.verdict;
      if (this.#entries.get(uid) === known) this.#entries.delete(uid);
    }
    const entry = this.#entries.get(uid) ?? newEntry(undefined);
    this.#entries.set(uid, entry);
    if (entry.fetch === undefined && this.#isDue(entry.verdict)) this.#startFetch(image, entry);
    const { verdict } = entry;
    const isUnderWay = entry.fetch !== undefined && verdict?.kind !== "refused";
    return verdict === undefined || isUnderWay ? { kind: "fetching" } : verdict;
  }

  /** Takes a file of this node in as the image: it is moved into the store. No-op when the image is there already. */
  async adopt(uid: string, facts: ImageFacts, path: string): Promise<void> {
    const { store, logger } = this.#options;
    await this.#oneAtATime(uid, async () => {
      const image = (await store.find(uid)) ?? (await store.publish(uid, facts, path));
      this.#entries.set(uid, newEntry({ kind: "ready", image }));
      logger.info({ image: uid, bytes: image.sizeBytes }, "image was made on this node");
    });
    this.#announce(uid);
  }

  /** Tells that there was no room for something: the next eviction keeps only what is in use. */
  noteShortage(): void {
    this.#isShortOfSpace = true;
  }

  statuses(): CachedImageStatus[] {
    return [...this.#entries]
      .map(([uid, { verdict, fetch }]) => reportImage(uid, verdict, fetch !== undefined))
      .sort((a, b) => (a.uid < b.uid ? -1 : 1));
  }

  onChange(listener: (imageUid: string) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Forgets what nobody needs: failures, unfinished downloads, and images beyond the limit. */
  async evict(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { imagesOnDisks, cacheBytes } = this.#options;
    const needed = new Set([...inUse, ...(await imagesOnDisks()), ...this.#holds.keys()]);
    // Found before the first is forgotten: what is asked for meanwhile is needed, although the caller could not know.
    const unneeded = [...this.#entries].filter(
      ([uid, { verdict }]) => verdict?.kind !== "ready" && !needed.has(uid),
    );
    for (const [uid] of unneeded) await this.#forget(uid);
    await this.#removeStrays(needed);
    const limit = this.#isShortOfSpace ? 0 : cacheBytes;
    this.#isShortOfSpace = false;
    for (const uid of planEviction({ images: this.#readyImages(), inUse: needed, cacheBytes: limit })) {
      signal.throwIfAborted();
      await this.#dismiss(uid);
    }
  }

  /** Ends the fetches and waits until they have. What can be resumed stays. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const fetches = [...this.#entries.values()].flatMap(({ fetch }) => fetch ?? []);
    for (const { controller } of fetches) controller.abort(new Error("the agent is shutting down"));
    await Promise.all(fetches.map(({ ended }) => ended));
  }

  #isDue(verdict: Verdict | undefined): boolean {
    if (this.#isClosed || verdict?.kind === "ready") return false;
    if (verdict === undefined) return true;
    return verdict.retryAt !== undefined && verdict.retryAt <= this.#options.now().getTime();
  }

  #startFetch(image: AllocatedImage, entry: Entry): void {
    const controller = new AbortController();
    const ended = this.#oneAtATime(image.uid, () => this.#fetch(image, entry, controller.signal));
    entry.fetch = { controller, ended };
    if (entry.verdict?.kind !== "refused") this.#announce(image.uid);
  }

  /** Never rejects: the verdict says what went wrong. */
  async #fetch(image: AllocatedImage, entry: Entry, signal: AbortSignal): Promise<void> {
    const { store, fetch, metrics, logger } = this.#options;
    const onBytes = (count: number): void => {
      // A source that sends is not failing: its next failure is the first again.
      entry.failuresInARow = 0;
      metrics?.fetchedBytes(count);
    };
    try {
      const stored = (await store.find(image.uid)) ?? (await fetch(image, { signal, onBytes }));
      entry.verdict = { kind: "ready", image: stored };
      entry.failuresInARow = 0;
      logger.info({ image: image.uid, bytes: stored.sizeBytes }, "image is ready");
    } catch (error) {
      if (signal.aborted) return;
      entry.verdict = await this.#judge(image.uid, entry, error);
    }
    entry.fetch = undefined;
    metrics?.fetchFinished(entry.verdict.kind === "ready" ? "Ready" : entry.verdict.reason);
    this.#announce(image.uid);
  }

  /** The verdict after a failed fetch; what cannot be gone on from is removed. */
  async #judge(uid: string, entry: Entry, error: unknown): Promise<Verdict> {
    const { store, logger, now, random } = this.#options;
    const failure = failureOf(error);
    if (failure.reason === "NoSpace") this.noteShortage();
    try {
      const isWorthKeeping = failure.reason === "FetchFailed" && (await store.isResumable(uid));
      if (!isWorthKeeping) await store.removeIncoming(uid);
    } catch (err) {
      logger.error(
        { image: uid, err },
        "cannot remove what is left of a download; the next attempt tries again",
      );
    }
    logger.warn({ image: uid, err: error, reason: failure.reason }, "image could not be fetched");
    const delay = retryDelay(entry.failuresInARow, random());
    entry.failuresInARow += 1;
    return verdictOf(failure, now().getTime() + delay);
  }

  /** Writes down the use of an image that is ready. False when somebody took its files away. */
  async #use(uid: string): Promise<boolean> {
    const { store, now } = this.#options;
    const present = await store.find(uid);
    if (present === undefined) return false;
    const time = now();
    if (time.getTime() - present.lastUsedAt.getTime() >= TOUCH_INTERVAL_MS) {
      await store.touch(uid, time);
      const entry = this.#entries.get(uid);
      if (entry?.verdict?.kind === "ready")
        entry.verdict = { kind: "ready", image: { ...present, lastUsedAt: time } };
    }
    return true;
  }

  #readyImages(): StoredImage[] {
    return [...this.#entries.values()].flatMap(({ verdict }) =>
      verdict?.kind === "ready" ? verdict.image : [],
    );
  }

  async #forget(uid: string): Promise<void> {
    const entry = this.#entries.get(uid);
    this.#entries.delete(uid);
    entry?.fetch?.controller.abort(new Error("no machine needs the image any more"));
    await this.#oneAtATime(uid, () => this.#options.store.removeIncoming(uid));
    this.#announce(uid);
  }

  /** What an earlier agent left and nobody has asked for. */
  async #removeStrays(needed: ReadonlySet<string>): Promise<void> {
    const { store } = this.#options;
    const isStray = (uid: string): boolean => !needed.has(uid) && !this.#entries.has(uid);
    for (const uid of (await store.listIncoming()).filter(isStray))
      await this.#oneAtATime(uid, async () => isStray(uid) && store.removeIncoming(uid));
    for (const uid of (await store.list()).filter(isStray))
      await this.#oneAtATime(uid, async () => isStray(uid) && store.remove(uid));
  }

  /** See the class for why this order is safe. */
  async #dismiss(uid: string): Promise<void> {
    const { store, imagesOnDisks, logger } = this.#options;
    const entry = this.#entries.get(uid);
    if (entry === undefined) return;
    this.#entries.delete(uid);
    await this.#oneAtATime(uid, async () => {
      const isInUse = this.#holds.has(uid) || (await imagesOnDisks()).has(uid);
      if (!isInUse) {
        await store.remove(uid);
        logger.info({ image: uid }, "image evicted from the cache");
      } else if (!this.#entries.has(uid)) this.#entries.set(uid, entry);
    });
    this.#announce(uid);
  }

  #announce(uid: string): void {
    for (const listener of this.#listeners) listener(uid);
  }
}

const newEntry = (verdict: Verdict | undefined): Entry => ({ verdict, fetch: undefined, failuresInARow: 0 });
