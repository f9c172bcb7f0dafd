import { createDiskUsers } from "./reconcilers/storage/disk-users.ts";
import { createFreezer } from "./reconcilers/storage/freeze.ts";
import type { GuestRequests } from "./reconcilers/machine/guest-requests.ts";
import type { LiveJobs } from "./reconcilers/storage/merge-disk.ts";
import type { OwnObjects } from "./own-objects.ts";
import type { AgentOptions } from "./agent.ts";
import type { DiskContext } from "./reconcilers/storage/reconcile-disk.ts";
import { createImageMaker, type ImageMaker } from "./reconcilers/storage/reconcile-image.ts";
import type { MachinePassOptions } from "./reconcilers/machine/reconcile-machine.ts";
import type { RestoreContext } from "./reconcilers/storage/reconcile-restore.ts";
import type { SnapshotContext } from "./reconcilers/storage/reconcile-snapshot.ts";
import type { VolumeContext } from "./reconcilers/storage/reconcile-volume.ts";
import { createStepContext } from "./reconcilers/machine/step-context.ts";
import type { StepContext } from "./reconcilers/machine/steps.ts";

/** Asks for passes. */
export interface Lookers {
  readonly lookAtMachine: (uid: string) => void;
  readonly lookAtVolume: (uid: string) => void;
  /** Of a machine or a Volume, by its UID. */
  readonly lookAtDisk: (uid: string) => void;
}

/** What the passes over each kind need, put together once. */
export interface Contexts {
  readonly machine: MachinePassOptions;
  readonly steps: StepContext;
  readonly volume: VolumeContext;
  readonly snapshot: SnapshotContext;
  readonly restore: RestoreContext;
  readonly disk: DiskContext;
  readonly imageMaker: ImageMaker;
}

/** The restore that works on a machine: it has begun, and is not over. */
export const restoringOf =
  ({ restores }: Pick<OwnObjects, "restores">) =>
  (vmUid: string) =>
    restores.list().find(({ status }) => status?.machineUid === vmUid && status.phase === "InProgress")?.spec
      .powerState;

export const createContexts = (
  options: AgentOptions,
  lookers: Lookers & Pick<VolumeContext, "tellReport">,
  requests: GuestRequests,
): Contexts => {
  const { rooms, objects, events, logger, lifecycleMetrics: metrics, migrating, now } = options;
  const users = createDiskUsers({ ...objects, domains: rooms.domains });
  const freezer = createFreezer({ live: rooms.live, volumes: rooms.volumes, users, migrating });
  const storage = { images: rooms.images, volumes: rooms.volumes, users, freezer };
  const { lookAtVolume, lookAtDisk } = lookers;
  const steps = createStepContext(options, { ...storage, lookAtVolume, lookAtDisk });
  const restoring = restoringOf(objects);
  const jobs: LiveJobs = new Map();
  const isToBePaused = (vmUid: string): boolean =>
    objects.machines.get(vmUid)?.status?.guest?.pauseRequested === true;
  const common = { jobs, events, metrics, migrating, isToBePaused, now, ...lookers };
  const views = {
    machines: objects.machines,
    volumeObjects: objects.volumes,
    snapshotObjects: objects.snapshots,
    restoreObjects: objects.restores,
    imageObjects: objects.images,
  };
  const { domains, live } = rooms;
  return {
    machine: { ...options, store: options.stores.machines, machines: objects.machines, requests, restoring },
    steps,
    volume: { ...storage, ...views, ...common },
    snapshot: {
      ...storage,
      ...views,
      ...common,
      live,
      isBeingRestored: (vmUid) => restoring(vmUid) !== undefined,
    },
    restore: { ...storage, ...views, ...common, domains, live, steps },
    disk: { ...storage, ...common, live, objects, logger, hasUnreadable: () => hasUnreadable(options) },
    imageMaker: createImageMaker({ ...storage, ...views, ...common }),
  };
};

/** What an object needs that cannot be read is not known. */
export const hasUnreadable = ({ stores }: Pick<AgentOptions, "stores">): boolean =>
  Object.values(stores).some((store: { unreadable(): readonly unknown[] }) => store.unreadable().length > 0);
