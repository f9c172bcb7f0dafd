export interface EvictionCandidate {
  readonly uid: string;
  readonly sizeBytes: number;
  readonly lastUsedAt: Date;
}

export interface EvictionFacts {
  readonly images: readonly EvictionCandidate[];
  readonly inUse: ReadonlySet<string>;
  /** What the cache may hold, in bytes. Images in use count, although they stay. */
  readonly cacheBytes: number;
}

/** UIDs of the images to remove, in order: the least recently used first, none in use, no more than needed. */
export const planEviction = ({ images, inUse, cacheBytes }: EvictionFacts): string[] => {
  let excess = images.reduce((sum, image) => sum + image.sizeBytes, 0) - cacheBytes;
  const victims: string[] = [];
  const byAge = images
    .filter(({ uid }) => !inUse.has(uid))
    .sort((a, b) => a.lastUsedAt.getTime() - b.lastUsedAt.getTime() || (a.uid < b.uid ? -1 : 1));
  for (const { uid, sizeBytes } of byAge) {
    if (excess <= 0) break;
    victims.push(uid);
    excess -= sizeBytes;
  }
  return victims;
};
