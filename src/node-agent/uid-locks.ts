import { createInTurn, type InTurn } from "./host/in-turn.ts";

/** Turns at what UIDs name. */
export interface UidLocks {
  /**
   * Runs the work while nobody else works on any of the UIDs. Machines, volumes,
   * snapshots and restores are passes of their own over the same guests and
   * disks. Not to be called from within such work: it would wait for itself.
   */
  hold<T>(uids: Iterable<string>, work: () => Promise<T>): Promise<T>;
}

interface Turn {
  readonly inTurn: InTurn;
  /** Those who are in or wait. */
  users: number;
}

/**
 * Turns are taken in the order of the UIDs, one after the other, so that no two
 * can wait for each other, and at each UID in the order of arrival.
 */
export const createUidLocks = (): UidLocks => {
  const turns = new Map<string, Turn>();

  const holdOne = async <T>(uid: string, work: () => Promise<T>): Promise<T> => {
    const turn = turns.get(uid) ?? { inTurn: createInTurn(), users: 0 };
    turns.set(uid, turn);
    turn.users += 1;
    try {
      return await turn.inTurn(work);
    } finally {
      turn.users -= 1;
      if (turn.users === 0) turns.delete(uid);
    }
  };

  return {
    hold: (uids, work) => {
      const [...descending] = [...new Set(uids)].toSorted().toReversed();
      // The first UID is the outermost turn.
      return descending.reduce<typeof work>((inner, uid) => () => holdOne(uid, inner), work)();
    },
  };
};
