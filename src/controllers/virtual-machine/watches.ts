import type { Flavor } from "../../api/flavor.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { KubernetesObject } from "../../api/meta.ts";
import type { Network } from "../../api/network.ts";
import type { SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { type Change, formatKey, isMoreThanStatus, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isFenced } from "../hypervisor/fencing.ts";
import { isLost } from "../hypervisor/status.ts";
import { imageKeyOf } from "../image/visible.ts";
import {
  BY_CDROM,
  BY_DISK_SOURCE,
  BY_FLAVOR,
  BY_GROUP,
  BY_NODE,
  BY_WANT,
  BY_PLACEMENT,
  BY_VOLUME,
  sourceIndexKey,
  UNPLACED,
} from "../stores.ts";
import { isInFlight } from "../virtual-machine-migration/phase.ts";
import { takenBy } from "./size.ts";

/**
 * Which machines a change concerns. A machine that waits is looked at again when
 * something changes that it may be waiting for, and never by polling.
 */

/** The machine itself; its copies; and when it goes or becomes smaller, all that wait for what it had. */
export const machinesAfterMachine = (
  stores: Stores,
  change: Change<VirtualMachine>,
): readonly ObjectKey[] => [
  change.key,
  ...copiesOf(stores, "VirtualMachine", change.key),
  ...(givesRoom(change) ? machinesInWant(stores, change.before?.status?.nodeName) : []),
];

const givesRoom = ({ before, after, unreadable }: Change<VirtualMachine>): boolean => {
  if (unreadable || before?.status?.allocation === undefined) return false;
  if (after === undefined || after.metadata.uid !== before.metadata.uid) return true;
  const [had, has] = [takenBy(before), takenBy(after)];
  return has.vcpus < had.vcpus || has.memoryMiB < had.memoryMiB;
};

/** Machines without a node, those whose node is fenced, and those on this one that it had no room for. */
const machinesInWant = (stores: Stores, nodeName: string | undefined): readonly ObjectKey[] => [
  ...waitingMachines(stores),
  ...strandedMachines(stores),
  ...(nodeName === undefined ? [] : keysBy(stores, BY_WANT, nodeName)),
];

/**
 * A node that comes, goes, is lost or is back concerns its machines; any change
 * of it may be what others wait for: room, a label, an image, Ready.
 */
export const machinesAfterHypervisor = (stores: Stores, change: Change<Hypervisor>): readonly ObjectKey[] => {
  const { key, before, after } = change;
  const own = fateOf(before) === fateOf(after) ? [] : keysBy(stores, BY_NODE, key.name);
  return [...own, ...machinesInWant(stores, key.name)];
};

const fateOf = (node: Hypervisor | undefined): string =>
  node === undefined ? "none" : `${isLost(node) ? "lost" : "alive"} ${isFenced(node)}`;

/** An object that machines refer to by name, in their own namespace or cluster-wide. */
export const machinesAfterReference =
  <T extends KubernetesObject>(
    stores: Stores,
    refersTo: (machine: VirtualMachine, name: string) => boolean,
  ): ((change: Change<T>) => readonly ObjectKey[]) =>
  ({ key }) =>
    unplaced(stores)
      .filter(({ metadata }) => key.namespace === undefined || key.namespace === metadata.namespace)
      .filter((machine) => refersTo(machine, key.name))
      .map(keyOf);

/** An Image may be used from other namespaces; those that have it as a CD-ROM follow it on their nodes too. */
export const machinesAfterImage = (stores: Stores, { key }: Change<Image>): readonly ObjectKey[] => [
  ...unplaced(stores)
    .filter((machine) => startsAs(machine, key))
    .map(keyOf),
  ...keysBy(stores, BY_CDROM, formatKey(key)),
];

const startsAs = ({ metadata, spec }: VirtualMachine, image: ObjectKey): boolean => {
  const { image: name, imageNamespace } = spec;
  if (name === undefined) return false;
  const key = imageKeyOf({ name, imageNamespace, userNamespace: metadata.namespace ?? "" });
  return formatKey(key) === formatKey(image);
};

/** Machines on nodes wait for a flavor too when it is to be their next size. */
export const machinesAfterFlavor = (stores: Stores, change: Change<Flavor>): readonly ObjectKey[] =>
  isMoreThanStatus(change) ? keysBy(stores, BY_FLAVOR, change.key.name) : [];

/** Those that name it, and those that start as a copy of it. One that is gone leaves room. */
export const machinesAfterVolume = (stores: Stores, change: Change<Volume>): readonly ObjectKey[] => {
  const { key, before, after } = change;
  const isMoved = placeOf(before) !== placeOf(after);
  const isGone = !change.unreadable && after === undefined;
  return [
    ...(isMoved ? keysBy(stores, BY_VOLUME, formatKey(key)) : []),
    ...copiesOf(stores, "Volume", key),
    ...(isGone ? machinesInWant(stores, before?.status?.nodeName) : []),
  ];
};

/** What of a Volume decides which machine can have it. */
const placeOf = (volume: Volume | undefined): string =>
  JSON.stringify([
    volume?.metadata.uid,
    volume?.metadata.deletionTimestamp,
    volume?.status?.attachedTo?.uid,
    volume?.status?.nodeName,
  ]);

export const machinesAfterSnapshot = (
  stores: Stores,
  { key }: Change<VirtualMachineSnapshot>,
): readonly ObjectKey[] => copiesOf(stores, "VirtualMachineSnapshot", key);

/**
 * A Network that comes, goes or is changed may end an overlap, also of others. Of
 * its status only the number matters, which machines wait for; the count of its
 * addresses changes with each machine.
 */
export const machinesAfterNetwork = (stores: Stores, change: Change<Network>): readonly ObjectKey[] => {
  const { before, after } = change;
  const isNumbered = before?.status?.vni !== after?.status?.vni;
  return isNumbered || isMoreThanStatus(change) ? waitingMachines(stores) : [];
};

/** A group that comes or goes concerns all machines that are in it, on a node or not. */
export const machinesAfterGroup = (
  stores: Stores,
  { key, before, after }: Change<SecurityGroup>,
): readonly ObjectKey[] =>
  before?.metadata.uid === after?.metadata.uid ? [] : keysBy(stores, BY_GROUP, formatKey(key));

/** Its machine, when another node has it or it may change again; and when it is over, all that wait for the room that it kept. */
export const machinesAfterMigration = (
  stores: Stores,
  { before, after }: Change<VirtualMachineMigration>,
): readonly ObjectKey[] => {
  const own = [before, after].flatMap((migration) =>
    migration === undefined
      ? []
      : [{ namespace: migration.metadata.namespace, name: migration.spec.virtualMachine }],
  );
  const isOver = before !== undefined && isInFlight(before) && (after === undefined || !isInFlight(after));
  const { sourceNode, targetNode } = before?.status ?? {};
  return [
    ...own.slice(0, 1),
    ...(isOver ? [sourceNode, targetNode].flatMap((nodeName) => machinesInWant(stores, nodeName)) : []),
  ];
};

const keysBy = (stores: Stores, index: string, value: string): readonly ObjectKey[] =>
  stores.virtualMachines.byIndex(index, value).map(keyOf);

/** Machines without a node whose root disk is to be a copy of it. */
const copiesOf = (
  stores: Stores,
  kind: Parameters<typeof sourceIndexKey>[0],
  key: ObjectKey,
): readonly ObjectKey[] => keysBy(stores, BY_DISK_SOURCE, sourceIndexKey(kind, key));

const unplaced = (stores: Stores): readonly VirtualMachine[] =>
  stores.virtualMachines.byIndex(BY_PLACEMENT, UNPLACED);

const waitingMachines = (stores: Stores): readonly ObjectKey[] => unplaced(stores).map(keyOf);

const strandedMachines = (stores: Stores): readonly ObjectKey[] =>
  stores.hypervisors
    .list()
    .filter(isFenced)
    .flatMap(({ metadata }) => keysBy(stores, BY_NODE, metadata.name));
