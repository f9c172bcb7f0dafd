import type { DiskReference } from "../../api/fields.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isLost } from "../hypervisor/status.ts";
import { BY_MACHINE, BY_NODE, BY_UID } from "../stores.ts";
import { diskBehindImage, diskBehindMachine, diskBehindVolume } from "../volume/copies.ts";
import type { MachineRequest } from "./turn.ts";

/** Which snapshots a change concerns. */

/** The snapshot itself, and those of the same machine, which may wait for their turn. */
export const snapshotsAfterSnapshot = (
  stores: Stores,
  { key, before, after }: Change<VirtualMachineSnapshot>,
): readonly ObjectKey[] => [key, ...snapshotsBeside(stores, after ?? before)];

/** Those of the same machine, the one that is restored among them. */
export const snapshotsAfterRestore = (
  stores: Stores,
  { before, after }: Change<VirtualMachineRestore>,
): readonly ObjectKey[] => snapshotsBeside(stores, after ?? before);

/** Those of the same machine, which wait until it has arrived. */
export const snapshotsAfterMigration = (
  stores: Stores,
  { before, after }: Change<VirtualMachineMigration>,
): readonly ObjectKey[] => snapshotsBeside(stores, after ?? before);

const snapshotsBeside = (
  stores: Stores,
  request: MachineRequest | VirtualMachineMigration | undefined,
): readonly ObjectKey[] =>
  request === undefined
    ? []
    : stores.virtualMachineSnapshots
        .byIndex(BY_MACHINE, `${request.metadata.namespace}/${request.spec.virtualMachine}`)
        .map(keyOf);

/** Those of the machine, when it comes, goes, or gets to another node; and one that it is no longer copied from. */
export const snapshotsAfterMachine = (
  stores: Stores,
  change: Change<VirtualMachine>,
): readonly ObjectKey[] => {
  const copied = sources(stores, change, diskBehindMachine);
  if (whereabouts(change.before) === whereabouts(change.after)) return copied;
  const own = stores.virtualMachineSnapshots.byIndex(BY_MACHINE, formatKey(change.key));
  return [...copied, ...own.map(keyOf)];
};

/** What of a machine those look at who wait for it, or follow it. */
export const whereabouts = (machine: VirtualMachine | undefined): string =>
  machine === undefined
    ? "none"
    : JSON.stringify([
        machine.metadata.uid,
        machine.metadata.deletionTimestamp === undefined,
        machine.status?.nodeName,
      ]);

/** The one that the Volume is no longer copied from. */
export const snapshotsAfterVolume = (stores: Stores, change: Change<Volume>): readonly ObjectKey[] =>
  sources(stores, change, diskBehindVolume);

/** The one that the Image is no longer made out of. */
export const snapshotsAfterImage = (stores: Stores, change: Change<Image>): readonly ObjectKey[] =>
  sources(stores, change, diskBehindImage);

/** Those on a node that comes, goes, is lost or is back, and those of its machines, which wait for it. */
export const snapshotsAfterHypervisor = (
  stores: Stores,
  { key, before, after }: Change<Hypervisor>,
): readonly ObjectKey[] => {
  if (fate(before) === fate(after)) return [];
  const waiting = stores.virtualMachines
    .byIndex(BY_NODE, key.name)
    .flatMap((machine) => stores.virtualMachineSnapshots.byIndex(BY_MACHINE, formatKey(keyOf(machine))));
  return [...stores.virtualMachineSnapshots.byIndex(BY_NODE, key.name), ...waiting].map(keyOf);
};

export const fate = (hypervisor: Hypervisor | undefined): "none" | "lost" | "alive" =>
  hypervisor === undefined ? "none" : isLost(hypervisor) ? "lost" : "alive";

/** The snapshot that something was being copied from, when that is over. */
const sources = <T>(
  stores: Stores,
  { before, after }: { readonly before?: T | undefined; readonly after?: T | undefined },
  diskBehind: (object: T) => DiskReference | undefined,
): readonly ObjectKey[] => {
  const then = before === undefined ? undefined : diskBehind(before)?.snapshotUid;
  const now = after === undefined ? undefined : diskBehind(after)?.snapshotUid;
  return then === undefined || then === now
    ? []
    : stores.virtualMachineSnapshots.byIndex(BY_UID, then).map(keyOf);
};
