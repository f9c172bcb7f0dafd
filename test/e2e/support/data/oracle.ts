import type { Place, Write } from "./blocks.ts";

/**
 * What the disks of a machine may contain, all of them at one moment. One
 * writer writes one block after the other, so whatever cuts it off, the disks
 * have what is certain and then the first so many of what was begun.
 */
export interface Contents {
  /** Numbers of the blocks that are there, by place. No number: never written. */
  readonly certain: ReadonlyMap<string, number>;
  /** Was begun after that, in this order, and may or may not be there. */
  readonly maybe: readonly Write[];
}

/** What was read, by place; 0 where nothing was ever written. */
export type Reading = ReadonlyMap<string, number>;

export const keyOf = ({ disk, slot }: Place): string => `${disk}/${slot}`;
const diskOf = (key: string): string => key.slice(0, key.lastIndexOf("/"));

export const NOTHING_WRITTEN: Contents = { certain: new Map(), maybe: [] };

/** The guest has been told to write these. */
export const issue = (contents: Contents, writes: readonly Write[]): Contents => ({
  ...contents,
  maybe: [...contents.maybe, ...writes],
});

const settleFirst = ({ certain, maybe }: Contents, count: number): Contents => ({
  certain: new Map([
    ...certain,
    ...maybe.slice(0, count).map((write) => [keyOf(write), write.sequence] as const),
  ]),
  maybe: maybe.slice(count),
});

/** The guest has said that everything up to this number is on the disks. */
export const acknowledge = (contents: Contents, sequence: number): Contents =>
  settleFirst(contents, contents.maybe.filter((write) => write.sequence <= sequence).length);

/** The writer has come to its end by itself. */
export const finish = (contents: Contents): Contents => settleFirst(contents, contents.maybe.length);

/** These disks are put back to what a snapshot shows; the others stay as they are. Nothing may be being written. */
export const restore = (now: Contents, snapshot: Contents, disks: ReadonlySet<string>): Contents => {
  if (now.maybe.some(({ disk }) => !disks.has(disk)))
    throw new Error(
      "a disk that is not in the snapshot is being written: nobody can tell what becomes of it",
    );
  const belongs = ([key]: readonly [string, number]): boolean => disks.has(diskOf(key));
  const kept = [...now.certain].filter((entry) => !belongs(entry));
  return {
    certain: new Map([...kept, ...[...snapshot.certain].filter(belongs)]),
    maybe: snapshot.maybe.filter(({ disk }) => disks.has(disk)),
  };
};

const differences = ({ certain }: Contents, reading: Reading): readonly string[] =>
  [...reading].flatMap(([place, sequence]) => {
    const expected = certain.get(place) ?? 0;
    return expected === sequence ? [] : [`${place} has ${sequence} instead of ${expected}`];
  });

/**
 * The contents after they have been read: nothing is uncertain any more.
 * Throws when there is no moment at which the disks contained all of this.
 */
export const resolve = (contents: Contents, reading: Reading): Contents => {
  const moments = Array.from({ length: contents.maybe.length + 1 }, (_, count) =>
    settleFirst(contents, count),
  );
  const wrong = moments.map((moment) => differences(moment, reading));
  const found = moments[wrong.findIndex((list) => list.length === 0)];
  if (found !== undefined) return { ...found, maybe: [] };
  const nearest = wrong.toSorted((a, b) => a.length - b.length)[0] ?? [];
  throw new Error(
    `the disks are as they were at no moment (${moments.length} are possible); nearest: ${nearest.join(", ")}`,
  );
};
