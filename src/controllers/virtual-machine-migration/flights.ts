import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { Store } from "../../kube/index.ts";
import { BY_FLIGHT, BY_UID, IN_FLIGHT } from "../stores.ts";
import type { Flight } from "./claims.ts";
import { endsOf } from "./phase.ts";
import type { Promises } from "./promises.ts";

type Migrations = Pick<Store<VirtualMachineMigration>, "byIndex">;

/** All machines on their way: those that the store shows, and those that have just been promised. By the migration's uid. */
export const flightsOf = (migrations: Migrations, promises: Promises): ReadonlyMap<string, Flight> => {
  const shown = migrations.byIndex(BY_FLIGHT, IN_FLIGHT).flatMap((migration) => {
    const ends = endsOf(migration);
    const { machineUid } = migration.status ?? {};
    if (ends === undefined || machineUid === undefined) return [];
    return [[migration.metadata.uid, { ...ends, machineUid }] as const];
  });
  const promised = promises.list((migrationUid) => migrations.byIndex(BY_UID, migrationUid)[0]);
  return new Map([...promised, ...shown]);
};
