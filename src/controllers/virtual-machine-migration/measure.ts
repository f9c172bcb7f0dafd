import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { ControllerMetrics } from "../metrics.ts";
import type { MigrationDecision } from "./decide.ts";

type MigrationMetrics = Pick<
  ControllerMetrics,
  "migrations" | "migrationSeconds" | "migrationDowntimeSeconds"
>;

/** Counts a migration that has come to its end. */
export const measure = (
  { migrations, migrationSeconds, migrationDowntimeSeconds }: MigrationMetrics,
  { status }: VirtualMachineMigration,
  { outcome }: Pick<MigrationDecision, "outcome">,
): void => {
  if (outcome === undefined) return;
  migrations.inc({ outcome });
  const { startedAt, completedAt, downtimeMilliseconds } = status ?? {};
  if (outcome !== "Succeeded") return;
  if (startedAt !== undefined && completedAt !== undefined)
    migrationSeconds.observe(Math.max(0, Date.parse(completedAt) - Date.parse(startedAt)) / 1000);
  if (downtimeMilliseconds !== undefined) migrationDowntimeSeconds.observe(downtimeMilliseconds / 1000);
};
