import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { BY_MACHINE, BY_NODE, BY_SNAPSHOT } from "../stores.ts";
import type { MachineRequest } from "../virtual-machine-snapshot/turn.ts";
import { fate, whereabouts } from "../virtual-machine-snapshot/watches.ts";

/** Which restores a change concerns. */

/** The restore itself, and those of the same machine, which may wait for their turn. */
export const restoresAfterRestore = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachineRestore>,
): readonly ObjectKey[] => [key, ...restoresBeside(stores, after ?? before)];

/** Those of the same machine, and those that name the snapshot. */
export const restoresAfterSnapshot = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachineSnapshot>,
): readonly ObjectKey[] => [
  ...restoresBeside(stores, after ?? before),
  ...stores.virtualMachineRestores.byIndex(BY_SNAPSHOT, formatKey(key)).map(keyOf),
];

/** Those of the same machine, which wait until it has arrived. */
export const restoresAfterMigration = (
  stores: Stores,
  { before, after }: Change<VirtualMachineMigration>,
): readonly ObjectKey[] => restoresBeside(stores, after ?? before);

const restoresBeside = (
  stores: Stores,
  request: MachineRequest | VirtualMachineMigration | undefined,
): readonly ObjectKey[] =>
  request === undefined
    ? []
    : stores.virtualMachineRestores
        .byIndex(BY_MACHINE, `${request.metadata.namespace}/${request.spec.virtualMachine}`)
        .map(keyOf);

/** Those of a machine that comes, goes, or gets to another node. */
export const restoresAfterMachine = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachine>,
): readonly ObjectKey[] =>
  whereabouts(before) === whereabouts(after)
    ? []
    : stores.virtualMachineRestores.byIndex(BY_MACHINE, formatKey(key)).map(keyOf);

/** Those on a node that comes, goes, is lost or is back, and those of its machines, which wait for it. */
export const restoresAfterHypervisor = (
  stores: Stores,
  { key, before, after }: Change<Hypervisor>,
): readonly ObjectKey[] => {
  if (fate(before) === fate(after)) return [];
  const waiting = stores.virtualMachines
    .byIndex(BY_NODE, key.name)
    .flatMap((machine) => stores.virtualMachineRestores.byIndex(BY_MACHINE, formatKey(keyOf(machine))));
  return [...stores.virtualMachineRestores.byIndex(BY_NODE, key.name), ...waiting].map(keyOf);
};
