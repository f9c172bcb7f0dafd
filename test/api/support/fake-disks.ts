import type { RetainedVolume } from "../../../src/api/hypervisor.ts";
import type { KubernetesObject } from "../../../src/api/meta.ts";
import { parseQuantity } from "../../../src/api/quantity.ts";
import type { Resource } from "../../../src/api/resource.ts";
import {
  type VirtualMachineRestore,
  virtualMachineRestores,
} from "../../../src/api/virtual-machine-restore.ts";
import {
  type VirtualMachineSnapshot,
  virtualMachineSnapshots,
} from "../../../src/api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { findCondition } from "../../../src/api/condition.ts";
import { type Volume, volumes } from "../../../src/api/volume.ts";
import {
  createController,
  createStore,
  done,
  type KubeClient,
  silentLogger,
  type Store,
  type Task,
  type WritableObject,
} from "../../../src/kube/index.ts";
import { FIELD_MANAGER } from "../../../src/node-agent/report.ts";
import { restoreStatus } from "../../../src/node-agent/reconcilers/storage/restore-status.ts";
import { snapshotStatus } from "../../../src/node-agent/reconcilers/storage/snapshot-status.ts";
import { volumeStatus } from "../../../src/node-agent/reconcilers/storage/volume-status.ts";

const MIB = 2 ** 20;

/** What the fake agents of a test do with disks; may be changed while they run. */
export interface DiskWorld {
  /** Names of Volumes that guests do not let go of. */
  readonly stubborn: Set<string>;
  /** Names of snapshots and restores that do not get on. */
  readonly slow: Set<string>;
}

export const createDiskWorld = (): DiskWorld => ({ stubborn: new Set(), slow: new Set() });

export interface FakeDisks {
  readonly tasks: Readonly<Record<string, Task>>;
  /** Data of deleted Volumes that the node keeps. */
  retained(): readonly RetainedVolume[];
}

export interface FakeDisksOptions {
  readonly client: KubeClient;
  readonly nodeName: string;
  readonly world: DiskWorld;
  readonly machines: Store<VirtualMachine>;
  /** The node keeps other data than before. */
  readonly onRetained: () => Promise<void>;
}

/** What a guest has: what the machine was given, and what it does not let go of. */
export const guestVolumesOf = ({ status }: VirtualMachine, { stubborn }: DiskWorld) => {
  const given = status?.allocation?.volumes ?? [];
  const kept = (status?.guest?.volumes ?? []).filter(
    ({ name, uid }) => stubborn.has(name) && !given.some((volume) => volume.uid === uid),
  );
  return [
    ...given.map(({ name, uid }) => ({ name, uid, state: "Attached" as const })),
    ...kept.map(({ name, uid }) => ({ name, uid, state: "Detaching" as const })),
  ];
};

/** Says of the disks of a node what its agent says, with the real agent's functions; there are no files. */
export const createFakeDisks = (options: FakeDisksOptions): FakeDisks => {
  const { client, nodeName, machines, world, onRetained } = options;
  const retained = new Map<string, RetainedVolume>();
  const of = <T extends KubernetesObject>(
    resource: Resource<T>,
    reconcile: (object: T) => Promise<WritableObject | undefined>,
  ): Readonly<Record<string, Task>> => {
    const fieldSelector = `status.nodeName=${nodeName}`;
    const store = createStore({ client, resource, fieldSelector, logger: silentLogger });
    const controller = createController({
      name: `fake-${resource.plural}`,
      logger: silentLogger,
      watches: [{ store }],
      reads: [machines],
      reconcile: async (key, signal) => {
        const object = store.get(key);
        const apply = object && (await reconcile(object));
        if (apply !== undefined && !isSaid(object, apply))
          await client.applyStatus(resource, apply, { fieldManager: FIELD_MANAGER, force: true, signal });
        return done;
      },
    });
    return {
      [`store of ${resource.plural}`]: (signal) => store.run(signal),
      [resource.plural]: (signal) => controller.run(signal),
    };
  };
  const keep = async (volume: Volume): Promise<void> => {
    retained.set(volume.metadata.uid, retainedFrom(volume));
    await onRetained();
  };
  const adopt = async (uid: string | undefined): Promise<void> => {
    if (uid !== undefined && retained.delete(uid)) await onRetained();
  };
  return {
    tasks: {
      ...of(volumes, (volume) => lookAtVolume(volume, { keep, adopt })),
      ...of(virtualMachineSnapshots, (snapshot) => Promise.resolve(lookAtSnapshot(snapshot, world))),
      ...of(virtualMachineRestores, (restore) => Promise.resolve(lookAtRestore(restore, world))),
    },
    retained: () => [...retained.values()],
  };
};

/** By the reason of Ready and the generation, which is what these agents say anything new by. */
const isSaid = (object: unknown, apply: unknown): boolean => summary(object) === summary(apply);

const summary = (object: unknown): string => {
  const { status } = object as Volume;
  const ready = findCondition(status?.conditions, "Ready");
  return JSON.stringify([status?.observedGeneration, status?.phase, status?.sizeMiB, ready?.reason]);
};

const isGivenUp = ({ metadata, status }: Volume | VirtualMachineSnapshot): boolean =>
  metadata.deletionTimestamp !== undefined && findCondition(status?.conditions, "InUse")?.status === "False";

const retainedFrom = ({ metadata, spec, status }: Volume): RetainedVolume => ({
  uid: metadata.uid,
  namespace: metadata.namespace ?? "",
  name: metadata.name,
  pool: spec.pool,
  sizeMiB: status?.sizeMiB ?? 0,
});

const lookAtVolume = async (
  volume: Volume,
  hands: {
    readonly keep: (volume: Volume) => Promise<void>;
    readonly adopt: (uid: string | undefined) => Promise<void>;
  },
) => {
  const generation = volume.metadata.generation ?? 0;
  if (isGivenUp(volume)) {
    if (volume.spec.deletionPolicy === "Retain") await hands.keep(volume);
    return volumeStatus(volume, generation, { kind: "released", message: "Gone." }, new Date());
  }
  await hands.adopt(volume.status?.allocation?.retainedUid);
  const sizeMiB = parseQuantity(volume.spec.size) / MIB;
  return volumeStatus(volume, generation, { kind: "ready", sizeMiB }, new Date());
};

const lookAtSnapshot = (snapshot: VirtualMachineSnapshot, { slow }: DiskWorld) => {
  if (isGivenUp(snapshot)) return snapshotStatus(snapshot, { kind: "released" }, new Date());
  if (snapshot.metadata.deletionTimestamp !== undefined || snapshot.status?.takenAt !== undefined)
    return undefined;
  const disks = [{ name: "root", sizeMiB: 1024 }];
  if (slow.has(snapshot.metadata.name))
    return snapshotStatus(snapshot, { kind: "taking", disks }, new Date());
  const taken = { takenAt: "2026-01-01T00:00:00Z", consistency: "Online", memory: false, disks } as const;
  return snapshotStatus(snapshot, { kind: "taken", taken }, new Date());
};

const lookAtRestore = (restore: VirtualMachineRestore, { slow }: DiskWorld) => {
  const { phase } = restore.status ?? {};
  if (phase === "Succeeded" || phase === "Failed") return undefined;
  return restoreStatus(
    restore,
    slow.has(restore.metadata.name)
      ? { kind: "working", stage: "Restoring", message: "Under way." }
      : { kind: "succeeded" },
    new Date(),
  );
};
