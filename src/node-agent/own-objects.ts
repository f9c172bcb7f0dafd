import { type Image, images } from "../api/image.ts";
import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import { type VirtualMachineRestore, virtualMachineRestores } from "../api/virtual-machine-restore.ts";
import { type VirtualMachineSnapshot, virtualMachineSnapshots } from "../api/virtual-machine-snapshot.ts";
import { type Volume, volumes } from "../api/volume.ts";
import { createStore, type KubeClient, type Logger, type Metrics, type Store } from "../kube/index.ts";
import { createMigrationStores, type MigrationStores } from "./reconcilers/migration/migration-objects.ts";
import { createObjectView, type ObjectView } from "./object-view.ts";
import type { RestoreView } from "./reconcilers/storage/reconcile-restore.ts";
import type { SnapshotView } from "./reconcilers/storage/reconcile-snapshot.ts";
import type { VolumeView } from "./reconcilers/storage/reconcile-volume.ts";
import { createMachineView, type MachineView } from "./report.ts";
import { ownRestoreStatus } from "./reconcilers/storage/restore-status.ts";
import { ownSnapshotStatus } from "./reconcilers/storage/snapshot-status.ts";
import { ownVolumeStatus } from "./reconcilers/storage/volume-status.ts";

/** Live copies of the objects that name this node. */
export interface OwnStores {
  readonly machines: Store<VirtualMachine>;
  readonly volumes: Store<Volume>;
  readonly snapshots: Store<VirtualMachineSnapshot>;
  readonly restores: Store<VirtualMachineRestore>;
  /** Images that this node makes of disks. */
  readonly images: Store<Image>;
  /** Migrations that this node is an end of. */
  readonly outgoing: MigrationStores["outgoing"];
  readonly incoming: MigrationStores["incoming"];
}

/** The same, by UID, with what this process wrote itself. */
export interface OwnObjects {
  readonly machines: MachineView;
  readonly volumes: VolumeView;
  readonly snapshots: SnapshotView;
  readonly restores: RestoreView;
  readonly images: Pick<ObjectView<Image>, "get" | "list" | "uidsInCluster" | "existsInCluster">;
}

export interface OwnObjectsOptions {
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export const createOwnStores = ({ nodeName, ...common }: OwnObjectsOptions): OwnStores => {
  const storeOf = <T extends KubernetesObject>(resource: Resource<T>, field = "status.nodeName"): Store<T> =>
    createStore({
      ...common,
      resource,
      fieldSelector: `${field}=${nodeName}`,
      indexes: { uid: ({ metadata }) => [metadata.uid] },
    });
  return {
    machines: storeOf(virtualMachines),
    volumes: storeOf(volumes),
    snapshots: storeOf(virtualMachineSnapshots),
    restores: storeOf(virtualMachineRestores),
    images: storeOf(images, "status.origin.nodeName"),
    ...createMigrationStores({ nodeName, ...common }),
  };
};

/** Before all of them are in sync, somebody's things look like nobody's. Rejects when the signal is aborted. */
export const whenOwnSynced = async (stores: OwnStores, signal: AbortSignal): Promise<void> => {
  await Promise.all(
    Object.values(stores).map((store: { whenSynced(signal: AbortSignal): Promise<void> }) =>
      store.whenSynced(signal),
    ),
  );
};

export const createOwnObjects = (stores: OwnStores, client: KubeClient): OwnObjects => ({
  machines: createMachineView(stores.machines, client),
  volumes: createObjectView({ store: stores.volumes, client, resource: volumes, own: ownVolumeStatus }),
  snapshots: createObjectView({
    store: stores.snapshots,
    client,
    resource: virtualMachineSnapshots,
    own: ownSnapshotStatus,
  }),
  restores: createObjectView({
    store: stores.restores,
    client,
    resource: virtualMachineRestores,
    own: ownRestoreStatus,
  }),
  // What a node holds of images is on its Hypervisor: nothing is written here.
  images: createObjectView({
    store: stores.images,
    client,
    resource: images,
    own: { fields: [], conditions: [] },
  }),
});
