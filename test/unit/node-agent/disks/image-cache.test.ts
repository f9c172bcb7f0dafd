import { beforeEach, describe, expect, test } from "@jest/globals";
import { FetchFailed, ImageRefused } from "../../../../src/node-agent/disks/failure.ts";
import { ImageCache, type ImageCacheOptions } from "../../../../src/node-agent/disks/image-cache.ts";
import type { ImageStore, StoredImage } from "../../../../src/node-agent/disks/image-store.ts";
import type { AllocatedImage } from "../../../../src/node-agent/disks/types.ts";

const uids = [1, 2, 3].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
const [first = "", second = "", third = ""] = uids;
const signal = new AbortController().signal;
const none: ReadonlySet<string> = new Set();

const imageOf = (uid: string): AllocatedImage => ({
  name: "debian",
  uid,
  format: "raw",
  compression: "None",
});

/** A store in memory. Removal takes a turn of the event loop, as on a disk. */
class FakeStore implements ImageStore {
  readonly published = new Map<string, StoredImage>();
  readonly halfMade = new Set<string>();
  readonly resumable = new Set<string>();
  touched = 0;

  put(uid: string, lastUsed: number): StoredImage {
    const image: StoredImage = {
      uid,
      format: "raw",
      path: `/images/${uid}`,
      virtualSizeBytes: 10,
      sizeBytes: 10,
      checksum: `sha256:${"0".repeat(64)}`,
      lastUsedAt: new Date(lastUsed),
    };
    this.published.set(uid, image);
    this.halfMade.delete(uid);
    return image;
  }
  prepare = async () => {};
  list = async () => [...this.published.keys()];
  listIncoming = async () => [...this.halfMade];
  find = async (uid: string) => this.published.get(uid);
  incoming = async () => ({ download: "", downloadRecord: "", unpacked: "" });
  publish = async (uid: string) => this.put(uid, 0);
  isResumable = async (uid: string) => this.resumable.has(uid);
  removeIncoming = async (uid: string) => {
    await turn();
    this.halfMade.delete(uid);
  };
  remove = async (uid: string) => {
    await turn();
    this.published.delete(uid);
  };
  touch = async (uid: string, at: Date) => {
    this.touched += 1;
    this.put(uid, at.getTime());
  };
  availableBytes = async () => 0;
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Fetches that end when the test says so. */
interface PendingFetch {
  readonly uid: string;
  readonly signal: AbortSignal;
  readonly succeed: () => void;
  readonly fail: (error: Error) => void;
  readonly receive: (bytes: number) => void;
}

let store: FakeStore;
let fetches: PendingFetch[];
let now: number;
let onDisks: ReadonlySet<string>;
let changes: string[];

const options = (): ImageCacheOptions => ({
  store,
  fetch: (image, { signal: aborted, onBytes }) =>
    new Promise((resolve, reject) => {
      store.halfMade.add(image.uid);
      aborted.addEventListener("abort", () => reject(new Error("aborted")));
      const succeed = () => resolve(store.put(image.uid, now));
      fetches.push({ uid: image.uid, signal: aborted, succeed, fail: reject, receive: onBytes });
    }),
  imagesOnDisks: async () => onDisks,
  cacheBytes: 10,
  logger: { info: () => {}, warn: () => {}, error: () => {} },
  now: () => new Date(now),
  random: () => 1,
  metrics: undefined,
});

const openCache = async (change: Partial<ImageCacheOptions> = {}): Promise<ImageCache> => {
  const cache = new ImageCache({ ...options(), ...change });
  await cache.load();
  cache.onChange((uid) => changes.push(uid));
  return cache;
};

/** Resolves when there have been so many fetches; Jest's own limit ends a wait in vain. */
const fetchNumber = async (count: number): Promise<PendingFetch> => {
  for (;;) {
    const fetch = fetches[count - 1];
    if (fetch !== undefined) return fetch;
    await turn();
  }
};

const settled = async (cache: ImageCache, uid: string): Promise<string> => {
  for (;;) {
    const status = cache.statuses().find((candidate) => candidate.uid === uid);
    if (status?.state !== "Fetching") return status?.state ?? "absent";
    await turn();
  }
};

beforeEach(() => {
  store = new FakeStore();
  fetches = [];
  changes = [];
  now = 1_000_000;
  onDisks = none;
});

describe("an image that is not cached", () => {
  test("is fetched once, whoever asks and how often", async () => {
    const cache = await openCache();
    const states = await Promise.all(Array.from({ length: 20 }, () => cache.obtain(imageOf(first))));
    expect(states).toEqual(states.map(() => ({ kind: "fetching" })));
    (await fetchNumber(1)).succeed();
    expect(await settled(cache, first)).toBe("Ready");
    expect((await cache.obtain(imageOf(first))).kind).toBe("ready");
    expect(fetches).toHaveLength(1);
    expect(changes).toEqual([first, first]);
  });

  test("that failed is tried again after a delay that doubles, until the source sends something", async () => {
    const cache = await openCache();
    const delays: number[] = [];
    for (const attempt of [1, 2, 3, 4]) {
      await cache.obtain(imageOf(first));
      const fetch = await fetchNumber(attempt);
      if (attempt === 4) fetch.receive(1);
      fetch.fail(new FetchFailed("FetchFailed", "no answer"));
      await settled(cache, first);
      const state = await cache.obtain(imageOf(first));
      const retryAt = state.kind === "failed" ? state.retryAt : 0;
      delays.push(retryAt - now);
      now = retryAt;
    }
    expect(delays).toEqual([1000, 2000, 4000, 1000]);
  });

  test("that failed keeps what can be resumed and nothing else", async () => {
    const cache = await openCache();
    store.resumable.add(first);
    for (const uid of [first, second]) await cache.obtain(imageOf(uid));
    for (const attempt of [1, 2]) (await fetchNumber(attempt)).fail(new FetchFailed("FetchFailed", "x"));
    await Promise.all([settled(cache, first), settled(cache, second)]);
    expect([...store.halfMade]).toEqual([first]);
  });

  test("that was refused for its content is not fetched again while it is wanted", async () => {
    const cache = await openCache();
    await cache.obtain(imageOf(first));
    (await fetchNumber(1)).fail(new ImageRefused("ChecksumMismatch", "x"));
    await settled(cache, first);
    now += 10 ** 9;
    expect(await cache.obtain(imageOf(first))).toMatchObject({ kind: "refused", reason: "ChecksumMismatch" });
    await cache.evict(new Set([first]), signal);
    expect(await cache.obtain(imageOf(first))).toMatchObject({ kind: "refused" });
    expect(fetches).toHaveLength(1);
  });

  test("whose refusal nobody needs any more is forgotten, so that it can be tried anew", async () => {
    const cache = await openCache();
    await cache.obtain(imageOf(first));
    (await fetchNumber(1)).fail(new ImageRefused("ChecksumMismatch", "x"));
    await settled(cache, first);
    await cache.evict(none, signal);
    expect(cache.statuses()).toEqual([]);
    expect(await cache.obtain(imageOf(first))).toEqual({ kind: "fetching" });
    await fetchNumber(2);
  });

  test("that is missing is looked for again, and stays refused meanwhile", async () => {
    const cache = await openCache();
    await cache.obtain(imageOf(first));
    (await fetchNumber(1)).fail(new ImageRefused("NotFound", "x"));
    await settled(cache, first);
    now += 1000;
    expect(await cache.obtain(imageOf(first))).toMatchObject({ kind: "refused", reason: "NotFound" });
    (await fetchNumber(2)).succeed();
    while ((await cache.obtain(imageOf(first))).kind !== "ready") await turn();
    expect(cache.statuses()).toMatchObject([{ state: "Ready" }]);
  });
});

describe("eviction", () => {
  test("removes the least recently used beyond the limit, never one in use or held", async () => {
    for (const [index, uid] of uids.entries()) store.put(uid, index);
    const cache = await openCache({ cacheBytes: 0 });
    onDisks = new Set([first]);
    using _ = cache.hold(third);
    await cache.evict(new Set(), signal);
    expect([...store.published.keys()]).toEqual([first, third]);
    expect(cache.statuses().map(({ uid }) => uid)).toEqual([first, third]);
  });

  test("spares an image that a disk was made on while it was being dismissed", async () => {
    store.put(first, 0);
    let looks = 0;
    const imagesOnDisks = async () => {
      looks += 1;
      return looks === 1 ? none : new Set([first]);
    };
    const cache = await openCache({ cacheBytes: 0, imagesOnDisks });
    await cache.evict(none, signal);
    expect(cache.statuses()).toMatchObject([{ uid: first, state: "Ready" }]);
    expect(store.published.has(first)).toBe(true);
  });

  test("of an image that is wanted meanwhile leads to a fetch after the removal, never to files that go", async () => {
    store.put(first, 0);
    const cache = await openCache({ cacheBytes: 0 });
    const eviction = cache.evict(none, signal);
    while (cache.statuses().length > 0) await turn();
    expect(await cache.obtain(imageOf(first))).toEqual({ kind: "fetching" });
    await eviction;
    (await fetchNumber(1)).succeed();
    expect(await settled(cache, first)).toBe("Ready");
    expect(store.published.has(first)).toBe(true);
  });

  test("ends downloads that nobody needs, and a new wish waits for the clean-up", async () => {
    const cache = await openCache();
    await cache.obtain(imageOf(first));
    const abandoned = await fetchNumber(1);
    const eviction = cache.evict(none, signal);
    while (!abandoned.signal.aborted) await turn();
    await cache.obtain(imageOf(first));
    await eviction;
    const next = await fetchNumber(2);
    expect(store.halfMade.has(first)).toBe(true);
    next.succeed();
    expect(await settled(cache, first)).toBe("Ready");
  });

  test("keeps only what is in use when the node ran out of space", async () => {
    store.put(first, 1);
    store.put(second, 2);
    const cache = await openCache({ cacheBytes: 1000 });
    await cache.evict(new Set([second]), signal);
    expect(store.published.size).toBe(2);
    cache.noteShortage();
    await cache.evict(new Set([second]), signal);
    expect([...store.published.keys()]).toEqual([second]);
  });

  test("removes what an earlier agent left half-made, unless somebody needs it", async () => {
    store.halfMade.add(first).add(second);
    const cache = await openCache();
    await cache.evict(new Set([second]), signal);
    expect([...store.halfMade]).toEqual([second]);
  });
});

describe("an image that is cached", () => {
  test("is known to the next agent, and its use is written down at most once a minute", async () => {
    store.put(first, 0);
    const cache = await openCache();
    for (const _ of [1, 2, 3]) await cache.obtain(imageOf(first));
    expect(store.touched).toBe(1);
    now += 60_000;
    await cache.obtain(imageOf(first));
    expect(store.touched).toBe(2);
  });

  test("is fetched again when somebody took its files away", async () => {
    store.put(first, 0);
    const cache = await openCache();
    store.published.delete(first);
    const states = await Promise.all([cache.obtain(imageOf(first)), cache.obtain(imageOf(first))]);
    expect(states.map(({ kind }) => kind)).toEqual(["fetching", "fetching"]);
    (await fetchNumber(1)).succeed();
    expect(await settled(cache, first)).toBe("Ready");
    expect(fetches).toHaveLength(1);
  });
});

test("closing ends the fetches, waits for them, and starts no new ones", async () => {
  const cache = await openCache();
  await cache.obtain(imageOf(first));
  const fetch = await fetchNumber(1);
  await cache.close();
  expect(fetch.signal.aborted).toBe(true);
  await cache.obtain(imageOf(second));
  await turn();
  expect(fetches).toHaveLength(1);
});
