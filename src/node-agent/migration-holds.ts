import type { VirtualMachineMigration } from "../api/virtual-machine-migration.ts";
import { isSuperseded, type MigrationHold, migrationHold } from "./migrations/index.ts";

/** What migrations forbid to do with the machines of this node. */
export interface MigrationHolds {
  /** Undefined when nothing is forbidden. */
  of(machineUid: string): MigrationHold | undefined;
  /** Whether what is here of a machine that is not this node's belongs to a migration. */
  concerns(machineUid: string): boolean;
  /** The machine has left, and this node has noticed: what the node's objects say of it holds again. */
  settle(migrationUid: string): void;
  isSettled(migrationUid: string): boolean;
  /** Calls back when that may have released a machine. */
  onSettle(listener: () => void): () => void;
}

const OVER = new Set(["Failed", "Cancelled"]);

export const createMigrationHolds = (
  nodeName: string,
  list: () => readonly VirtualMachineMigration[],
  hasSession: (migrationUid: string) => boolean,
): MigrationHolds => {
  const settled = new Set<string>();
  const listeners = new Set<() => void>();
  /**
   * The machine is on the other node, and the watch may not have said so yet: it
   * must not be started here again. Or a migration has failed, and the guest is
   * about to be let go on.
   */
  const isUnsettled = (migration: VirtualMachineMigration): boolean => {
    const { status, metadata } = migration;
    if (status?.sourceNode !== nodeName) return false;
    if (status.phase === "Succeeded") return !settled.has(metadata.uid) && !isSuperseded(migration, list());
    return OVER.has(status.phase ?? "") && hasSession(metadata.uid);
  };
  const ofMachine = (machineUid: string): readonly VirtualMachineMigration[] =>
    list().filter(({ status }) => status?.machineUid === machineUid);
  return {
    of: (machineUid) =>
      ofMachine(machineUid).some(isUnsettled) ? "power" : migrationHold(list(), machineUid),
    concerns: (machineUid) => ofMachine(machineUid).length > 0,
    settle: (migrationUid) => {
      settled.add(migrationUid);
      for (const listener of listeners) listener();
    },
    onSettle: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    isSettled: (migrationUid) => settled.has(migrationUid),
  };
};
