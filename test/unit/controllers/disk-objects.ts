import { type Condition, findCondition } from "../../../src/api/condition.ts";
import type { Flavor } from "../../../src/api/flavor.ts";
import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import type { Image } from "../../../src/api/image.ts";
import type { KubernetesObject, ObjectMeta } from "../../../src/api/meta.ts";
import {
  LEFTOVERS_FINALIZER,
  MIGRATION_FINALIZER,
  type VirtualMachineMigration,
} from "../../../src/api/virtual-machine-migration.ts";
import { RESTORE_FINALIZER, type VirtualMachineRestore } from "../../../src/api/virtual-machine-restore.ts";
import {
  SNAPSHOT_FINALIZER,
  type VirtualMachineSnapshot,
} from "../../../src/api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { type Volume, VOLUME_FINALIZER } from "../../../src/api/volume.ts";
import type { Stores } from "../../../src/controllers/context.ts";
import type { Step } from "../../../src/controllers/steps.ts";
import {
  machineIndexes,
  migrationIndexes,
  restoreIndexes,
  snapshotIndexes,
  volumeIndexes,
} from "../../../src/controllers/stores.ts";
import { formatKey, keyOf, type ObjectKey, UnreadableObjectError } from "../../../src/kube/index.ts";
import { allocationWith, guestOn, machineWith, readyCondition, uidOf } from "./objects.ts";

/** Volumes, snapshots and restores for tests, and what becomes of them. */

type Meta = Partial<ObjectMeta>;

export const DELETED = { deletionTimestamp: "2026-02-03T04:05:00Z" };

const metaOf = (name: string, finalizers: string | string[], meta: Meta): ObjectMeta => ({
  name,
  namespace: "default",
  uid: uidOf(`${meta.namespace ?? "default"}/${name}`),
  resourceVersion: "1",
  generation: 1,
  creationTimestamp: "2026-01-01T00:00:00Z",
  finalizers: [finalizers].flat(),
  ...meta,
});

export const volumeWith = (
  spec: Partial<Volume["spec"]> = {},
  meta: Meta = {},
  status?: Volume["status"],
): Volume => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "Volume",
  metadata: metaOf(meta.name ?? "data", VOLUME_FINALIZER, meta),
  spec: { size: "1Gi", pool: "local", deletionPolicy: "Delete", ...spec },
  ...(status !== undefined && { status }),
});

/** A Volume that node-1 has made. */
export const madeVolume = (
  status: Partial<NonNullable<Volume["status"]>> = {},
  meta: Meta = {},
  spec: Partial<Volume["spec"]> = {},
): Volume =>
  volumeWith(spec, meta, {
    nodeName: "node-1",
    phase: "Available",
    observedGeneration: 1,
    sizeMiB: 1024,
    format: "qcow2",
    conditions: [readyCondition("True", "Available")],
    ...status,
  });

export const snapshotWith = (
  status?: VirtualMachineSnapshot["status"],
  meta: Meta = {},
  spec: Partial<VirtualMachineSnapshot["spec"]> = {},
): VirtualMachineSnapshot => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "VirtualMachineSnapshot",
  metadata: metaOf(meta.name ?? "before", SNAPSHOT_FINALIZER, meta),
  spec: { virtualMachine: "web", includeMemory: false, quiesce: "IfPossible", ...spec },
  ...(status !== undefined && { status }),
});

/** A snapshot of machine web that node-1 has taken. */
export const readySnapshot = (
  status: Partial<NonNullable<VirtualMachineSnapshot["status"]>> = {},
  meta: Meta = {},
): VirtualMachineSnapshot =>
  snapshotWith(
    {
      nodeName: "node-1",
      machineUid: WEB_UID,
      phase: "Ready",
      observedGeneration: 1,
      takenAt: "2026-01-02T00:00:00Z",
      consistency: "Online",
      disks: [{ name: "root", sizeMiB: 1024 }],
      conditions: [readyCondition("True", "Taken")],
      ...status,
    },
    meta,
  );

export const restoreWith = (
  status?: VirtualMachineRestore["status"],
  meta: Meta = {},
  spec: Partial<VirtualMachineRestore["spec"]> = {},
): VirtualMachineRestore => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "VirtualMachineRestore",
  metadata: metaOf(meta.name ?? "back", RESTORE_FINALIZER, meta),
  spec: { virtualMachine: "web", snapshot: "before", powerState: "Running", ...spec },
  ...(status !== undefined && { status }),
});

export const migrationWith = (
  status?: VirtualMachineMigration["status"],
  meta: Meta = {},
  spec: Partial<VirtualMachineMigration["spec"]> = {},
): VirtualMachineMigration => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "VirtualMachineMigration",
  metadata: metaOf(meta.name ?? "away", [MIGRATION_FINALIZER, LEFTOVERS_FINALIZER], meta),
  spec: {
    virtualMachine: "web",
    maxDowntimeMilliseconds: 300,
    autoConverge: true,
    timeoutSeconds: 3600,
    ...spec,
  },
  ...(status !== undefined && { status }),
});

const machineUid = (name: string): string => uidOf(`default/${name}`);

export const WEB_UID = machineUid("web");

type MachineStatus = NonNullable<VirtualMachine["status"]>;

export interface MachineDisks {
  /** Names in spec.volumes. */
  readonly names?: readonly string[];
  /** What it was given. */
  readonly given?: readonly Volume[];
  /** What its guest has. */
  readonly attached?: readonly Volume[];
}

const entryOf = ({ metadata }: Volume) => ({ name: metadata.name, uid: metadata.uid });

/** A machine with these volumes, on node-1 unless it is said otherwise. */
export const machineOf = (
  name: string,
  { names = [], given = [], attached = [] }: MachineDisks = {},
  {
    meta = {},
    spec = {},
    status = {},
    nodeName = "node-1",
  }: {
    readonly meta?: Meta;
    readonly spec?: Partial<VirtualMachine["spec"]>;
    readonly status?: Partial<MachineStatus>;
    readonly nodeName?: string | undefined;
  } = {},
): VirtualMachine =>
  machineWith(
    { volumes: names.map((volume) => ({ name: volume, bus: "VirtIO" })), ...spec },
    { name, uid: machineUid(name), ...meta },
    {
      nodeName,
      observedGeneration: 1,
      allocation: { ...allocationWith(), volumes: given.map(entryOf) },
      guest: {
        ...guestOn(nodeName),
        volumes: attached.map((volume) => ({ ...entryOf(volume), state: "Attached" as const })),
      },
      conditions: [readyCondition("True", "Running")],
      ...status,
    },
  );

/** A machine that no node has. */
export const unplacedMachine = (name: string, names: readonly string[], meta: Meta = {}): VirtualMachine =>
  machineWith(
    { volumes: names.map((volume) => ({ name: volume, bus: "VirtIO" })) },
    { name, uid: machineUid(name), ...meta },
  );

export interface Held {
  readonly machines?: readonly VirtualMachine[];
  readonly volumes?: readonly Volume[];
  readonly snapshots?: readonly VirtualMachineSnapshot[];
  readonly restores?: readonly VirtualMachineRestore[];
  readonly migrations?: readonly VirtualMachineMigration[];
  readonly images?: readonly Image[];
  readonly flavors?: readonly Flavor[];
  readonly hypervisors?: readonly Hypervisor[];
  /** "namespace/name" of machines that exist and cannot be understood. */
  readonly unreadable?: readonly string[];
}

type Indexes<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

const storeOf = <T extends KubernetesObject>(
  objects: readonly T[],
  indexes: Indexes<T> = {},
  unreadable: readonly string[] = [],
) => ({
  get: (key: ObjectKey): T | undefined => {
    if (unreadable.includes(formatKey(key))) throw new UnreadableObjectError("spec: not understood");
    return objects.find((object) => formatKey(keyOf(object)) === formatKey(key));
  },
  list: () => objects,
  unreadable: () =>
    unreadable.map((id) => {
      const [namespace = "", name = ""] = id.split("/");
      return { key: { namespace, name } };
    }),
  byIndex: (index: string, value: string) =>
    objects.filter((object) => indexes[index]?.(object).includes(value)),
});

/** Stores that hold these objects, with the real ones' indexes. */
export const storesWith = (held: Held): Stores =>
  ({
    virtualMachines: storeOf(held.machines ?? [], machineIndexes, held.unreadable),
    volumes: storeOf(held.volumes ?? [], volumeIndexes),
    virtualMachineSnapshots: storeOf(held.snapshots ?? [], snapshotIndexes),
    virtualMachineRestores: storeOf(held.restores ?? [], restoreIndexes),
    virtualMachineMigrations: storeOf(held.migrations ?? [], migrationIndexes),
    images: storeOf(held.images ?? []),
    hypervisors: storeOf(held.hypervisors ?? []),
  }) as unknown as Stores;

/** "finalizers none", "apply-status", "announce Reserved". */
export const stepsOf = (steps: readonly Step<object>[]): readonly string[] =>
  steps.map((step) => {
    if (step.kind === "write-finalizers") return `finalizers ${step.finalizers.join() || "none"}`;
    if (step.kind === "announce") return `announce ${step.announcement.reason}`;
    return step.kind;
  });

/** The status that is written. */
export const statusOf = <S extends object>(steps: readonly Step<S>[]): S => {
  for (const step of steps) if (step.kind === "apply-status") return step.status;
  throw new Error(`no status is written: ${stepsOf(steps).join("; ") || "no steps"}`);
};

/** "Ready=True InForce: message" and so on. */
export const conditionsOf = (
  steps: readonly Step<{ readonly conditions: readonly Condition[] }>[],
): readonly string[] =>
  statusOf(steps).conditions.map(
    ({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`,
  );

interface WithStatus extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
}

/**
 * The object after the steps: fields that the controller owns are as it says,
 * those of the agent stay. Undefined when the last finalizer of a deleted one is gone.
 */
export const afterwards = <T extends WithStatus>(
  object: T,
  steps: readonly Step<object>[],
  own: { readonly fields: readonly string[]; readonly conditions: readonly string[] },
): T | undefined => {
  let current = object;
  for (const step of steps) {
    if (step.kind === "write-finalizers")
      current = { ...current, metadata: { ...current.metadata, finalizers: [...step.finalizers] } };
    if (step.kind === "apply-status") current = { ...current, status: merged(current, step.status, own) };
  }
  const { deletionTimestamp, finalizers = [] } = current.metadata;
  return deletionTimestamp !== undefined && finalizers.length === 0 ? undefined : current;
};

const merged = (
  { status }: WithStatus,
  said: { readonly conditions?: readonly Condition[] },
  own: { readonly fields: readonly string[]; readonly conditions: readonly string[] },
): object => {
  const kept = Object.entries(status ?? {}).filter(([name]) => !own.fields.includes(name));
  const conditions = said.conditions ?? [];
  const others = (status?.conditions ?? []).filter(
    ({ type }) => !own.conditions.includes(type) && findCondition(conditions, type) === undefined,
  );
  return { ...Object.fromEntries(kept), ...said, conditions: [...others, ...conditions] };
};
