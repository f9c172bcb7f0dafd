import { addressSlices } from "../api/address-slice.ts";
import { findCondition, isTrue } from "../api/condition.ts";
import { flavors } from "../api/flavor.ts";
import { floatingIpPools } from "../api/floating-ip-pool.ts";
import { type FloatingIp, floatingIps } from "../api/floating-ip.ts";
import { hypervisors, SYSTEM_NAMESPACE } from "../api/hypervisor.ts";
import { type Image, images } from "../api/image.ts";
import { keyPairs } from "../api/key-pair.ts";
import type { KubernetesObject } from "../api/meta.ts";
import { networks } from "../api/network.ts";
import type { Resource } from "../api/resource.ts";
import { groupNamesOf, remoteGroupsOf, type SecurityGroup, securityGroups } from "../api/security-group.ts";
import { type VirtualMachineMigration, virtualMachineMigrations } from "../api/virtual-machine-migration.ts";
import { type VirtualMachineRestore, virtualMachineRestores } from "../api/virtual-machine-restore.ts";
import { type VirtualMachineSnapshot, virtualMachineSnapshots } from "../api/virtual-machine-snapshot.ts";
import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import { type Volume, volumes } from "../api/volume.ts";
import { createStore, leases, type Store, type StoreOptions } from "../kube/index.ts";
import type { ControllerContext, Stores } from "./context.ts";
import type { SourceReference } from "./disk-source/observe.ts";
import { INSUFFICIENT_CAPACITY } from "./virtual-machine/violation.ts";
import { DRAIN_LABEL } from "./hypervisor-drain/names.ts";
import { isInFlight, isWaiting } from "./virtual-machine-migration/phase.ts";

/** Machines by the node that they were placed on; volumes, snapshots and restores by the one that works on them. */
export const BY_NODE = "byNode";
/** Machines by the Networks that they have an address of. */
export const BY_NETWORK = "byNetwork";
/** Machines by their namespace. */
export const BY_NAMESPACE = "byNamespace";
/** Machines by "namespace/name" of the SecurityGroups that they are in. */
export const BY_GROUP = "byGroup";
/** The object of that uid: a machine, a volume, a snapshot or a restore. */
export const BY_UID = "byUid";
/** Machines by "namespace/name" of the Volumes that they name. */
export const BY_VOLUME = "byVolume";
/** Machines by the uids of the Volumes that they were given, or that their guests have. */
export const BY_HELD_VOLUME = "byHeldVolume";
/** Machines and Volumes without a node, under the value UNPLACED. */
export const BY_PLACEMENT = "byPlacement";
export const UNPLACED = "unplaced";

/** Machines with a node that has no room for what they ask for, by the node. */
export const BY_WANT = "byWant";
/** Machines by the Flavor that they name. */
export const BY_FLAVOR = "byFlavor";
/** Machines by "namespace/name" of the Images that they have as CD-ROMs. */
export const BY_CDROM = "byCdrom";
/** Machines without a node by "network/address" of the addresses that they ask for. */
export const BY_WANTED_ADDRESS = "byWantedAddress";
/** Machines without a node, and Images without an origin, by sourceIndexKey of the disk that they start as. */
export const BY_DISK_SOURCE = "byDiskSource";

const given = (value: string | undefined): readonly string[] => (value === undefined ? [] : [value]);

const uidOf = ({ metadata }: KubernetesObject): readonly string[] => [metadata.uid];

const nodeOf = ({
  status,
}: {
  readonly status?: { readonly nodeName?: string | undefined } | undefined;
}): readonly string[] => given(status?.nodeName);

const namedMachineOf = ({
  metadata,
  spec,
}: VirtualMachineSnapshot | VirtualMachineRestore | VirtualMachineMigration): readonly string[] => [
  `${metadata.namespace}/${spec.virtualMachine}`,
];

/** What BY_DISK_SOURCE finds an object by: "Volume/namespace/name". */
export const sourceIndexKey = (
  kind: "VirtualMachine" | "VirtualMachineSnapshot" | "Volume",
  { namespace, name }: { readonly namespace?: string | undefined; readonly name: string },
): string => `${kind}/${namespace}/${name}`;

const diskSourcesOf = (namespace: string | undefined, source: SourceReference | undefined) =>
  (
    [
      ["VirtualMachine", source?.virtualMachine],
      ["VirtualMachineSnapshot", source?.snapshot],
      ["Volume", source?.volume],
    ] as const
  ).flatMap(([kind, name]) => (name === undefined ? [] : [sourceIndexKey(kind, { namespace, name })]));

/** Pure, so that the store can keep the indexes. */
export const machineIndexes = {
  [BY_NODE]: nodeOf,
  [BY_NETWORK]: ({ status }: VirtualMachine) =>
    (status?.allocation?.interfaces ?? []).map(({ network }) => network),
  [BY_NAMESPACE]: ({ metadata }: VirtualMachine) => given(metadata.namespace),
  [BY_GROUP]: ({ metadata, spec }: VirtualMachine) =>
    groupNamesOf(spec.securityGroups).map((name) => `${metadata.namespace}/${name}`),
  [BY_UID]: uidOf,
  [BY_VOLUME]: ({ metadata, spec }: VirtualMachine) =>
    spec.volumes.map(({ name }) => `${metadata.namespace}/${name}`),
  [BY_HELD_VOLUME]: ({ status }: VirtualMachine) => [
    ...new Set(
      [...(status?.allocation?.volumes ?? []), ...(status?.guest?.volumes ?? [])].map(({ uid }) => uid),
    ),
  ],
  [BY_PLACEMENT]: ({ status }: VirtualMachine) => (status?.nodeName === undefined ? [UNPLACED] : []),
  [BY_WANT]: ({ status }: VirtualMachine) =>
    isTrue(status?.conditions, "ResizePending") ||
    findCondition(status?.conditions, "VolumesReady")?.reason === INSUFFICIENT_CAPACITY
      ? given(status?.nodeName)
      : [],
  [BY_FLAVOR]: ({ spec }: VirtualMachine) => given(spec.flavor),
  [BY_CDROM]: ({ metadata, spec }: VirtualMachine) =>
    spec.cdroms.map(({ image }) => `${metadata.namespace}/${image}`),
  [BY_WANTED_ADDRESS]: ({ spec, status }: VirtualMachine) =>
    status?.nodeName === undefined
      ? spec.networks.flatMap(({ name, address }) => (address === undefined ? [] : [`${name}/${address}`]))
      : [],
  [BY_DISK_SOURCE]: ({ metadata, spec, status }: VirtualMachine) =>
    status?.nodeName === undefined ? diskSourcesOf(metadata.namespace, spec.source) : [],
};

/** Pure, so that the store can keep the indexes. */
export const imageIndexes = {
  [BY_DISK_SOURCE]: ({ metadata, spec, status }: Image) =>
    status?.origin === undefined ? diskSourcesOf(metadata.namespace, spec.source) : [],
};

/**
 * By "namespace/name" of a machine: the Volumes that are reserved for it, the
 * snapshots, restores and migrations that name it. Machines of one name follow each other.
 */
export const BY_MACHINE = "byMachine";
/** Volumes, snapshots and restores by the uid of the machine that they were given to, or are about. */
export const BY_MACHINE_UID = "byMachineUid";
/** By "namespace/name" of a snapshot: Volumes that start as a disk in it, and restores to it. */
export const BY_SNAPSHOT = "bySnapshot";
/** Volumes by "namespace/name" of the Volume that they start as a copy of. */
export const BY_SOURCE_VOLUME = "bySourceVolume";
/** Volumes by "namespace/name" of the Image that they start as. */
export const BY_IMAGE = "byImage";
/** Volumes by the uid of the deleted Volume whose data they take over. */
export const BY_RETAINED = "byRetained";

/** Pure, so that the store can keep the indexes. */
export const volumeIndexes = {
  [BY_NODE]: nodeOf,
  [BY_UID]: uidOf,
  [BY_MACHINE]: ({ metadata, status }: Volume) =>
    given(status?.attachedTo?.name).map((name) => `${metadata.namespace}/${name}`),
  [BY_MACHINE_UID]: ({ status }: Volume) => given(status?.attachedTo?.uid),
  [BY_SNAPSHOT]: ({ metadata, spec }: Volume) =>
    given(spec.source?.snapshot).map((name) => `${metadata.namespace}/${name}`),
  [BY_SOURCE_VOLUME]: ({ metadata, spec }: Volume) =>
    given(spec.source?.volume).map((name) => `${metadata.namespace}/${name}`),
  [BY_IMAGE]: ({ metadata, spec: { source } }: Volume) =>
    given(source?.image).map((name) => `${source?.imageNamespace ?? metadata.namespace}/${name}`),
  [BY_RETAINED]: ({ spec }: Volume) => given(spec.source?.retained),
  [BY_PLACEMENT]: ({ status }: Volume) => (status?.nodeName === undefined ? [UNPLACED] : []),
};

/** Pure, so that the store can keep the indexes. */
export const snapshotIndexes = {
  [BY_NODE]: nodeOf,
  [BY_UID]: uidOf,
  [BY_MACHINE]: namedMachineOf,
  [BY_MACHINE_UID]: ({ status }: VirtualMachineSnapshot) => given(status?.machineUid),
};

/** Pure, so that the store can keep the indexes. */
export const restoreIndexes = {
  [BY_NODE]: nodeOf,
  [BY_UID]: uidOf,
  [BY_MACHINE]: namedMachineOf,
  [BY_MACHINE_UID]: ({ status }: VirtualMachineRestore) => given(status?.machineUid),
  [BY_SNAPSHOT]: ({ metadata, spec }: VirtualMachineRestore) => [`${metadata.namespace}/${spec.snapshot}`],
};

/** FloatingIPs by "namespace/name" of the machines that they name or claim. */
export const BY_TARGET = "byTarget";
/** FloatingIPs that choose machines by labels, by their namespace. */
export const BY_SELECTOR = "bySelector";
/** FloatingIPs by the nodes that are to answer for them, or do. */
export const BY_FLOATING_NODE = "byFloatingNode";
/** FloatingIPs by the node that answers for them. */
export const BY_HOLDER = "byHolder";
/** FloatingIPs by the address that they have. */
export const BY_ADDRESS = "byAddress";
/** FloatingIPs without an address, by the one that they ask for. */
export const BY_WISH = "byWish";
/** FloatingIPs by their pool. */
export const BY_POOL = "byPool";
/** FloatingIPs without an address, under the value WAITING. */
export const BY_WAITING = "byWaiting";
export const WAITING = "waiting";

/** Pure, so that the store can keep the indexes. */
export const floatingIpIndexes = {
  [BY_TARGET]: ({ metadata, spec, status }: FloatingIp) =>
    [...new Set([...(spec.targets ?? []), ...given(status?.claim?.machine)])].map(
      (name) => `${metadata.namespace}/${name}`,
    ),
  [BY_SELECTOR]: ({ metadata, spec }: FloatingIp) =>
    spec.selector === undefined ? [] : given(metadata.namespace),
  [BY_FLOATING_NODE]: ({ status }: FloatingIp) => [
    ...new Set([...given(status?.claim?.nodeName), ...given(status?.holder?.nodeName)]),
  ],
  [BY_HOLDER]: ({ status }: FloatingIp) => given(status?.holder?.nodeName),
  [BY_ADDRESS]: ({ status }: FloatingIp) => given(status?.address),
  [BY_WISH]: ({ spec, status }: FloatingIp) => (status?.address === undefined ? given(spec.address) : []),
  [BY_POOL]: ({ spec }: FloatingIp) => [spec.pool],
  [BY_WAITING]: ({ status }: FloatingIp) => (status?.address === undefined ? [WAITING] : []),
};

/** SecurityGroups by "namespace/name" of those that their rules speak of. */
export const BY_REMOTE_GROUP = "byRemoteGroup";

/** Pure, so that the store can keep the indexes. */
export const securityGroupIndexes = {
  [BY_REMOTE_GROUP]: ({ metadata, spec }: SecurityGroup) =>
    remoteGroupsOf(spec).map((name) => `${metadata.namespace}/${name}`),
};

/** Migrations that have been accepted and are not over, under the value IN_FLIGHT: what the limits count. */
export const BY_FLIGHT = "byFlight";
export const IN_FLIGHT = "in-flight";
/** Migrations by the node that they are to empty, as the label vireo.dev/drain says it. */
export const BY_DRAIN = "byDrain";
/** Under BY_FLIGHT: those that wait to be accepted. */
export const UNACCEPTED = "unaccepted";

/** Pure, so that the store can keep the indexes. */
export const migrationIndexes = {
  [BY_UID]: uidOf,
  [BY_MACHINE]: namedMachineOf,
  /** By the ends of those that have been accepted. */
  [BY_NODE]: ({ status }: VirtualMachineMigration) => [
    ...new Set([...given(status?.sourceNode), ...given(status?.targetNode)]),
  ],
  [BY_FLIGHT]: (migration: VirtualMachineMigration) => [
    ...(isInFlight(migration) ? [IN_FLIGHT] : []),
    ...(isWaiting(migration) ? [UNACCEPTED] : []),
  ],
  [BY_DRAIN]: ({ metadata }: VirtualMachineMigration) => given(metadata.labels?.[DRAIN_LABEL]),
};

type StoreContext = Pick<ControllerContext, "client" | "logger" | "metrics" | "clock">;

/** Makes the stores; nothing is read before they are run. */
export const createStores = ({ client, logger, metrics, clock }: StoreContext): Stores => {
  const store = <T extends KubernetesObject>(
    resource: Resource<T>,
    options: Pick<StoreOptions<T>, "indexes" | "namespace"> = {},
  ): Store<T> => createStore({ client, resource, logger, metrics, clock, ...options });
  return {
    virtualMachines: store(virtualMachines, { indexes: machineIndexes }),
    volumes: store(volumes, { indexes: volumeIndexes }),
    virtualMachineSnapshots: store(virtualMachineSnapshots, { indexes: snapshotIndexes }),
    virtualMachineRestores: store(virtualMachineRestores, { indexes: restoreIndexes }),
    virtualMachineMigrations: store(virtualMachineMigrations, { indexes: migrationIndexes }),
    images: store(images, { indexes: imageIndexes }),
    flavors: store(flavors),
    keyPairs: store(keyPairs),
    networks: store(networks),
    hypervisors: store(hypervisors),
    securityGroups: store(securityGroups, { indexes: securityGroupIndexes }),
    addressSlices: store(addressSlices),
    floatingIps: store(floatingIps, { indexes: floatingIpIndexes }),
    floatingIpPools: store(floatingIpPools),
    leases: store(leases, { namespace: SYSTEM_NAMESPACE }),
  };
};
