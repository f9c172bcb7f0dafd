import type { DiskReference } from "../../api/fields.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import { isTrue } from "../../api/condition.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isLost } from "../hypervisor/status.ts";
import {
  BY_IMAGE,
  BY_MACHINE_UID,
  BY_NODE,
  BY_PLACEMENT,
  BY_RETAINED,
  BY_SNAPSHOT,
  BY_SOURCE_VOLUME,
  BY_UID,
  UNPLACED,
} from "../stores.ts";
import { diskBehindImage, diskBehindMachine, diskBehindVolume } from "./copies.ts";

/** Which Volumes a change concerns. */

/** The Volume itself, those that start as it or want the same data, and the one that it is copied from. */
export const volumesAfterVolume = (stores: Stores, change: Change<Volume>): readonly ObjectKey[] => {
  const { key, before, after } = change;
  const retained = after?.spec.source?.retained ?? before?.spec.source?.retained;
  return [
    key,
    ...stores.volumes.byIndex(BY_SOURCE_VOLUME, formatKey(key)).map(keyOf),
    ...(retained === undefined ? [] : stores.volumes.byIndex(BY_RETAINED, retained).map(keyOf)),
    ...sources(stores, change, diskBehindVolume),
  ];
};

/** Those that the machine names, has or had, when that, its node or whether it exists has changed. */
export const volumesAfterMachine = (stores: Stores, change: Change<VirtualMachine>): readonly ObjectKey[] => {
  const { before, after } = change;
  const copied = sources(stores, change, diskBehindMachine);
  if (before !== undefined && after !== undefined && standing(before) === standing(after)) return copied;
  const concerned = [before, after].flatMap((machine) =>
    machine === undefined ? [] : volumesOf(stores, machine),
  );
  return [...copied, ...concerned];
};

const standing = ({ metadata, spec, status }: VirtualMachine): string =>
  JSON.stringify([
    metadata.uid,
    metadata.deletionTimestamp === undefined,
    spec.volumes.map(({ name }) => name),
    status?.nodeName,
    status?.allocation?.volumes?.map(({ uid }) => uid),
    status?.guest?.volumes?.map(({ uid }) => uid),
    (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0),
    isTrue(status?.conditions, "Released"),
    // Not up to date while the node is lost, whatever the generation says.
    status?.conditions?.find(({ type }) => type === "Ready")?.status === "Unknown",
  ]);

const volumesOf = (stores: Stores, { metadata, spec, status }: VirtualMachine): readonly ObjectKey[] => [
  ...spec.volumes.map(({ name }) => ({ namespace: metadata.namespace, name })),
  ...stores.volumes.byIndex(BY_MACHINE_UID, metadata.uid).map(keyOf),
  ...[...(status?.allocation?.volumes ?? []), ...(status?.guest?.volumes ?? [])].flatMap(({ uid }) =>
    stores.volumes.byIndex(BY_UID, uid).map(keyOf),
  ),
];

/** Those that start as a disk in the snapshot. */
export const volumesAfterSnapshot = (
  stores: Stores,
  { key }: Change<VirtualMachineSnapshot>,
): readonly ObjectKey[] => stores.volumes.byIndex(BY_SNAPSHOT, formatKey(key)).map(keyOf);

/** Those that start as the image, and the one that it is made out of. */
export const volumesAfterImage = (stores: Stores, change: Change<Image>): readonly ObjectKey[] => [
  ...stores.volumes.byIndex(BY_IMAGE, formatKey(change.key)).map(keyOf),
  ...sources(stores, change, diskBehindImage),
];

/**
 * A node that comes, goes, is lost or is back, or has other pools, concerns its
 * Volumes; any change of it may be what those wait for that have no node.
 */
export const volumesAfterHypervisor = (stores: Stores, change: Change<Hypervisor>): readonly ObjectKey[] => {
  const { key, before, after } = change;
  const own = fate(before) === fate(after) ? [] : stores.volumes.byIndex(BY_NODE, key.name).map(keyOf);
  return [...own, ...stores.volumes.byIndex(BY_PLACEMENT, UNPLACED).map(keyOf)];
};

const fate = (hypervisor: Hypervisor | undefined): string =>
  hypervisor === undefined
    ? "none"
    : JSON.stringify([
        isLost(hypervisor),
        hypervisor.status?.storagePools?.map(({ name, shared }) => [name, shared]),
      ]);

/** The Volume that something was being copied from, when that is over. */
const sources = <T>(
  stores: Stores,
  { before, after }: { readonly before?: T | undefined; readonly after?: T | undefined },
  diskBehind: (object: T) => DiskReference | undefined,
): readonly ObjectKey[] => {
  const then = before === undefined ? undefined : diskBehind(before)?.volumeUid;
  const now = after === undefined ? undefined : diskBehind(after)?.volumeUid;
  return then === undefined || then === now ? [] : stores.volumes.byIndex(BY_UID, then).map(keyOf);
};
