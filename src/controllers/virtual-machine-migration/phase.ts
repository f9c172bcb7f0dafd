import {
  MIGRATION_FINALIZER,
  type MigrationPhase,
  type VirtualMachineMigration,
} from "../../api/virtual-machine-migration.ts";

/** Pure: what follows from the phase of a migration, which decides where the machine runs. */

/** The two nodes of a migration that has been accepted. */
export interface Ends {
  readonly sourceNode: string;
  readonly targetNode: string;
}

/** Undefined while it has not been accepted, and when it was refused. */
export const endsOf = ({ status }: VirtualMachineMigration): Ends | undefined => {
  const { sourceNode, targetNode } = status ?? {};
  return sourceNode === undefined || targetNode === undefined ? undefined : { sourceNode, targetNode };
};

const TERMINAL: ReadonlySet<MigrationPhase | undefined> = new Set(["Succeeded", "Failed", "Cancelled"]);

/** Such a one never changes any more. */
export const isTerminal = ({ status }: VirtualMachineMigration): boolean => TERMINAL.has(status?.phase);

/** Has it been accepted, and is it not over? Both of its nodes have room for the machine until then. */
export const isInFlight = (migration: VirtualMachineMigration): boolean =>
  endsOf(migration) !== undefined && !isTerminal(migration);

/** Could it be accepted yet? */
export const isWaiting = (migration: VirtualMachineMigration): boolean =>
  endsOf(migration) === undefined &&
  !isTerminal(migration) &&
  migration.metadata.deletionTimestamp === undefined;

/**
 * Does it have a say in where its machine is? Until the machine's status names
 * the node that it has led to; then the finalizer goes.
 */
export const isUnsettled = (migration: VirtualMachineMigration): boolean =>
  endsOf(migration) !== undefined &&
  (!isTerminal(migration) || (migration.metadata.finalizers ?? []).includes(MIGRATION_FINALIZER));

/**
 * The node that the machine belongs to. From Switching on the target alone may
 * let the guest go on; a migration that failed, even then, has left it at the source.
 */
export const homeOf = (migration: VirtualMachineMigration): string | undefined => {
  const { phase, sourceNode, targetNode } = migration.status ?? {};
  return phase === "Switching" || phase === "Succeeded" ? targetNode : sourceNode;
};

/** The migration that has a say in where the machine of that uid is. */
export const unsettledOf = (
  migrations: readonly VirtualMachineMigration[],
  machineUid: string,
): VirtualMachineMigration | undefined =>
  migrations.find((migration) => migration.status?.machineUid === machineUid && isUnsettled(migration));
