import { isTrue } from "../../../api/condition.ts";
import { RELEASED, type VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { isSuperseded, type MigrationHold, migrationHold } from "../../migrations/index.ts";

/** What migrations forbid to do with the machines of this node. */
export interface MigrationHolds {
  /** Undefined when nothing is forbidden. */
  of(machineUid: string): MigrationHold | undefined;
  /** Whether what is here of a machine that is not this node's belongs to a migration. */
  concerns(machineUid: string): boolean;
}

const OVER = new Set(["Failed", "Cancelled"]);

export const createMigrationHolds = (
  nodeName: string,
  list: () => readonly VirtualMachineMigration[],
  hasSession: (migrationUid: string) => boolean,
): MigrationHolds => {
  /**
   * The machine is on the other node, and the watch may not have said so yet: it
   * must not be started here again. Or a migration has failed, and the guest is
   * about to be let go on.
   */
  const isUnsettled = (migration: VirtualMachineMigration): boolean => {
    const { status, metadata } = migration;
    if (status?.sourceNode !== nodeName) return false;
    if (status.phase === "Succeeded")
      return !isTrue(status.conditions, RELEASED) && !isSuperseded(migration, list());
    return OVER.has(status.phase ?? "") && hasSession(metadata.uid);
  };
  const ofMachine = (machineUid: string): readonly VirtualMachineMigration[] =>
    list().filter(({ status }) => status?.machineUid === machineUid);
  return {
    of: (machineUid) =>
      ofMachine(machineUid).some(isUnsettled) ? "power" : migrationHold(list(), machineUid),
    concerns: (machineUid) => ofMachine(machineUid).length > 0,
  };
};
