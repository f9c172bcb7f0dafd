import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { Flight } from "./claims.ts";
import { endsOf, isTerminal } from "./phase.ts";

/**
 * Migrations that have been accepted, from the moment it is decided until the
 * store shows it, so that neither the room on the target nor the place among
 * those that move at a time is given twice.
 *
 * Nobody knows what has become of a write that had no answer; so it is held, and
 * repeated as it is, until the store tells.
 */
export interface Promises {
  find(migrationUid: string): Flight | undefined;
  /** What the store does not show yet, by the migration's uid. @param find the migration of that uid as the store has it */
  list(find: (migrationUid: string) => VirtualMachineMigration | undefined): ReadonlyMap<string, Flight>;
  hold(migrationUid: string, flight: Flight): void;
  /** It was refused for good, or the store shows it. */
  release(migrationUid: string): void;
}

export const createPromises = (): Promises => {
  const held = new Map<string, Flight>();
  return {
    find: (migrationUid) => held.get(migrationUid),
    list: (find) => {
      for (const migrationUid of held.keys()) {
        const migration = find(migrationUid);
        const isKnown = migration === undefined || isTerminal(migration) || endsOf(migration) !== undefined;
        if (isKnown) held.delete(migrationUid);
      }
      return held;
    },
    hold: (migrationUid, flight) => void held.set(migrationUid, flight),
    release: (migrationUid) => void held.delete(migrationUid),
  };
};
