import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";

/**
 * What a migration forbids to do with its machine. shape: its disks and its
 * hardware stay as they are, since the target has made the same. power: nobody
 * starts, stops or pauses it either.
 */
export type MigrationHold = "shape" | "power";

const holdOf = ({ status }: VirtualMachineMigration): MigrationHold | undefined => {
  switch (status?.phase) {
    case "Preparing":
      // The files of a guest that is off are being copied as they are.
      return status.live === false ? "power" : "shape";
    case "Copying":
    case "Switching":
      return "power";
    default:
      return undefined;
  }
};

/** Undefined when no migration is at work on the machine. */
export const migrationHold = (
  migrations: readonly VirtualMachineMigration[],
  machineUid: string,
): MigrationHold | undefined => {
  const holds = migrations
    .filter(({ status }) => status?.machineUid === machineUid)
    .flatMap((migration) => holdOf(migration) ?? []);
  return holds.includes("power") ? "power" : holds[0];
};

const isLater = (one: VirtualMachineMigration, other: VirtualMachineMigration): boolean =>
  one.metadata.creationTimestamp === other.metadata.creationTimestamp
    ? one.metadata.uid > other.metadata.uid
    : one.metadata.creationTimestamp > other.metadata.creationTimestamp;

/**
 * Whether another migration has a say in what is on this node: one that is at
 * work on the machine, or a later one, whatever came of it.
 */
export const isSuperseded = (
  migration: VirtualMachineMigration,
  all: readonly VirtualMachineMigration[],
): boolean =>
  all.some(
    (other) =>
      other.metadata.uid !== migration.metadata.uid &&
      other.status?.machineUid === migration.status?.machineUid &&
      (holdOf(other) !== undefined || isLater(other, migration)),
  );
