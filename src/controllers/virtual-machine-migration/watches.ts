import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isFenced } from "../hypervisor/fencing.ts";
import { BY_FLIGHT, BY_MACHINE, BY_NODE, UNACCEPTED } from "../stores.ts";
import type { MachineRequest } from "../virtual-machine-snapshot/turn.ts";
import { fate } from "../virtual-machine-snapshot/watches.ts";
import { isMade } from "../volume/judge.ts";
import { powerOf } from "./checks.ts";
import { isInFlight } from "./phase.ts";
import { waitsForSlot } from "./slots.ts";

/** Which migrations a change concerns. */

/** The migration itself; those of the same machine; and all that wait, when one begins, ends or no longer waits. */
export const migrationsAfterMigration = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachineMigration>,
): readonly ObjectKey[] => [
  key,
  ...besides(stores, after ?? before),
  ...(roleOf(before) === roleOf(after) ? [] : waitingOnes(stores)),
];

/** What others that wait see of it. */
const roleOf = (migration: VirtualMachineMigration | undefined): string => {
  if (migration === undefined) return "none";
  if (isInFlight(migration)) return "in flight";
  return waitsForSlot(migration) ? "waiting" : "none";
};

/** Those of the same machine, which may wait for their turn. */
export const migrationsAfterRequest = <T extends VirtualMachineSnapshot | VirtualMachineRestore>(
  stores: Stores,
  { before, after }: Change<T>,
): readonly ObjectKey[] => besides(stores, after ?? before);

const besides = (
  stores: Stores,
  request: MachineRequest | VirtualMachineMigration | undefined,
): readonly ObjectKey[] =>
  request === undefined
    ? []
    : stores.virtualMachineMigrations
        .byIndex(BY_MACHINE, `${request.metadata.namespace}/${request.spec.virtualMachine}`)
        .map(keyOf);

const waitingOnes = (stores: Stores): readonly ObjectKey[] =>
  stores.virtualMachineMigrations.byIndex(BY_FLIGHT, UNACCEPTED).map(keyOf);

/** Those of a machine that comes, goes, moves, or whose guest goes on or off; all that wait for room, when some comes free. */
export const migrationsAfterMachine = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachine>,
): readonly ObjectKey[] => [
  ...(standing(before) === standing(after)
    ? []
    : stores.virtualMachineMigrations.byIndex(BY_MACHINE, formatKey(key)).map(keyOf)),
  ...(room(before) === room(after) ? [] : waitingOnes(stores)),
];

const standing = (machine: VirtualMachine | undefined): string =>
  machine === undefined
    ? "none"
    : JSON.stringify([
        machine.metadata.uid,
        machine.metadata.deletionTimestamp === undefined,
        machine.status?.nodeName,
        powerOf(machine),
      ]);

const room = (machine: VirtualMachine | undefined): string =>
  JSON.stringify([machine?.status?.nodeName, machine?.status?.allocation?.flavor]);

/** All that wait, when a Volume has been made, has moved or is gone. */
export const migrationsAfterVolume = (
  stores: Stores,
  { before, after }: Change<Volume>,
): readonly ObjectKey[] => (gistOf(before) === gistOf(after) ? [] : waitingOnes(stores));

const gistOf = (volume: Volume | undefined): string =>
  volume === undefined ? "none" : JSON.stringify([volume.status?.nodeName, isMade(volume)]);

/** Those that leave or enter a node that comes, goes, is lost or is back; any change of it may be what others wait for. */
export const migrationsAfterHypervisor = (
  stores: Stores,
  { key, before, after }: Change<Hypervisor>,
): readonly ObjectKey[] => {
  const [wasFenced, isNowFenced] = [before, after].map((node) => node !== undefined && isFenced(node));
  const isSame = fate(before) === fate(after) && wasFenced === isNowFenced;
  const own = isSame ? [] : stores.virtualMachineMigrations.byIndex(BY_NODE, key.name).map(keyOf);
  return [...own, ...waitingOnes(stores)];
};
