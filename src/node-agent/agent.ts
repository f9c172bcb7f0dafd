import { isTrue } from "../api/condition.ts";
import type { KubernetesObject } from "../api/meta.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import type { Volume } from "../api/volume.ts";
import {
  type Change,
  type Controller,
  createController,
  type EventRecorder,
  formatKey,
  keyOf,
  type Logger,
  type Metrics,
  type ReconcileResult,
  runTogether,
} from "../kube/index.ts";
import { type Contexts, createContexts, type Lookers } from "./agent-context.ts";
import { createGuestRequests, type GuestRequests } from "./reconcilers/machine/guest-requests.ts";
import type { LifecycleMetrics } from "./lifecycle-metrics.ts";
import { locksOf } from "./lock-uids.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { MigrationHold } from "./migrations/index.ts";
import type { IsMoving } from "./reconcilers/migration/moving-machines.ts";
import type { NodeNetwork } from "./reconcilers/network/node-network.ts";
import type { OwnObjects, OwnStores } from "./own-objects.ts";
import { reconcileDisk } from "./reconcilers/storage/reconcile-disk.ts";
import type { ImageExports } from "./reconcilers/storage/reconcile-image.ts";
import { reconcileMachine } from "./reconcilers/machine/reconcile-machine.ts";
import { reconcileRestore } from "./reconcilers/storage/reconcile-restore.ts";
import { reconcileSnapshot } from "./reconcilers/storage/reconcile-snapshot.ts";
import { reconcileVolume } from "./reconcilers/storage/reconcile-volume.ts";
import type { NodeRooms } from "./rooms.ts";
import type { FetchSeed } from "./reconcilers/machine/seed-source.ts";
import type { ConfirmStart } from "./reconcilers/machine/start-permit.ts";
import { endStrangersFirst, lookAtStrangers } from "./reconcilers/machine/strangers.ts";
import { sweepRegularly } from "./sweep.ts";
import type { StepContext } from "./reconcilers/machine/steps.ts";
import { createUidLocks, type UidLocks } from "./uid-locks.ts";

/**
 * The loop of the node agent. It makes this host equal to what is written for
 * this node, one object at a time and several at once, and has no memory:
 * whatever it needs is in the objects, in libvirt and on the host.
 *
 * Objects are known by their UID, because what is found on the host carries
 * nothing else. Watch events, libvirt events and the periodic sweep only say
 * which UID to look at again. Each kind has a queue of its own; who works on a
 * guest or a disk holds its UID meanwhile, so that no two passes meet there.
 */
export interface AgentOptions {
  readonly nodeName: string;
  readonly stores: OwnStores;
  readonly objects: OwnObjects;
  readonly rooms: NodeRooms;
  /** Routes and rules of the node as a whole. */
  readonly network: NodeNetwork;
  readonly fetchSeed: FetchSeed;
  readonly confirmStart: ConfirmStart;
  /** What a migration of the machine forbids; undefined when there is none. */
  readonly migrating: (vmUid: string) => MigrationHold | undefined;
  readonly isMoving: IsMoving;
  readonly events: EventRecorder;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly agentMetrics: AgentMetrics;
  readonly lifecycleMetrics: LifecycleMetrics;
  readonly now: () => Date;
  /** Resolves after so many ms. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  /** How often everything is looked at without a cause, in ms. */
  readonly sweepMs: number;
  /** How many machines are worked on at the same time. */
  readonly workers: number;
}

export interface Agent {
  /** What is asked of guests beside what their objects say. */
  readonly requests: GuestRequests;
  /** Images that are being made of disks of this node. */
  readonly exports: ImageExports;
  /** The rooms, for what works on machines beside this loop. */
  readonly steps: StepContext;
  readonly lookAtMachine: (uid: string) => void;
  /** Runs the work while no pass goes over the machine or its disks. Not to be called from within such work. */
  readonly holdMachine: <T>(uid: string, work: () => Promise<T>) => Promise<T>;
  /** Calls back when something of this node has changed that its report tells, and that no image and no libvirt tells. */
  onReportable(listener: () => void): () => void;
  /** Works until the signal is aborted. Starts nothing before the stores are in sync. */
  run(signal: AbortSignal): Promise<void>;
}

/** Passes over objects other than machines that go on at the same time, for each kind. */
const OTHER_WORKERS = 4;

export const createAgent = (options: AgentOptions): Agent => {
  const { objects } = options;
  const locks = createUidLocks();
  const passes = {
    machine: (uid: string, signal: AbortSignal) =>
      locks.hold(locksOf(objects, () => contexts.volume.users).machine(uid), () =>
        reconcileMachine(uid, contexts.machine, contexts.steps, signal),
      ),
  };
  const controllers: Controllers = createControllers(options, locks, passes, () => contexts);
  const lookers: Lookers = {
    lookAtMachine: (uid) => controllers.machine.enqueue({ name: uid }),
    lookAtVolume: (uid) => controllers.volume.enqueue({ name: uid }),
    lookAtDisk: (uid) => controllers.disk.enqueue({ name: uid }),
  };
  const requests = createGuestRequests(lookers.lookAtMachine);
  const reportables = new Set<() => void>();
  const contexts = createContexts(
    options,
    { ...lookers, tellReport: () => reportables.forEach((tell) => tell()) },
    requests,
  );

  return {
    requests,
    exports: contexts.imageMaker,
    steps: contexts.steps,
    lookAtMachine: lookers.lookAtMachine,
    holdMachine: (uid, work) => locks.hold(locksOf(objects, () => contexts.volume.users).machine(uid), work),
    onReportable: (listener) => {
      reportables.add(listener);
      return () => reportables.delete(listener);
    },
    run: async (signal) => {
      const { lookAtMachine } = lookers;
      const stops = [
        ...listen(options, controllers, lookers),
        options.rooms.domains.onChange((uid) => {
          if (uid === "all") void lookAtStrangers(options, lookAtMachine, signal);
        }),
      ];
      try {
        await runTogether(
          {
            ...Object.fromEntries(
              Object.entries(controllers).map(([kind, controller]: [string, Controller]) => [
                `${kind}-passes`,
                (taskSignal: AbortSignal) => controller.run(taskSignal),
              ]),
            ),
            "machine-passes": async (taskSignal) => {
              await endStrangersFirst(options, { pass: passes.machine, lookAtMachine }, taskSignal);
              await controllers.machine.run(taskSignal);
            },
            sweep: (taskSignal) =>
              sweepRegularly(
                options,
                {
                  ...lookers,
                  lookAtAll: () =>
                    objects.machines.list().forEach((one) => lookers.lookAtMachine(one.metadata.uid)),
                },
                taskSignal,
              ),
          },
          signal,
        );
      } finally {
        for (const stop of stops) stop();
        options.rooms.probes.close();
      }
    },
  };
};

type Kind = "machine" | "volume" | "snapshot" | "restore" | "disk" | "image";
type Controllers = Readonly<Record<Kind, Controller>>;

const createControllers = (
  options: AgentOptions,
  locks: UidLocks,
  passes: { machine(uid: string, signal: AbortSignal): Promise<ReconcileResult> },
  contexts: () => Contexts,
): Controllers => {
  const { stores, objects, logger, metrics } = options;
  const lockUids = locksOf(objects, () => contexts().volume.users);
  const common = { backoff: { initialMs: 200, maxMs: 30_000 }, workers: OTHER_WORKERS, logger, metrics };
  const describe =
    (kind: "machines" | "volumes" | "snapshots" | "restores" | "images") =>
    ({ name: uid }: { readonly name: string }): string => {
      const object = objects[kind].get(uid);
      return object === undefined ? uid : formatKey(keyOf(object));
    };
  return {
    machine: createController({
      ...common,
      name: "machine",
      reconcile: ({ name: uid }, signal) => passes.machine(uid, signal),
      watches: [
        { store: stores.machines, map: (change) => keys(uidsToLookAt(change, objects)) },
        { store: stores.volumes, map: (change) => keys(machinesOfVolume(change)) },
      ],
      reads: [stores.snapshots, stores.restores, stores.outgoing, stores.incoming],
      workers: options.workers,
      describe: describe("machines"),
    }),
    volume: createController({
      ...common,
      name: "volume",
      reconcile: ({ name: uid }, signal) =>
        locks.hold(lockUids.volume(uid), () => reconcileVolume(uid, contexts().volume, { signal })),
      watches: [{ store: stores.volumes, map: (change) => keys(changedBy(change, objects.volumes)) }],
      reads: [stores.machines, stores.snapshots],
      describe: describe("volumes"),
    }),
    snapshot: createController({
      ...common,
      name: "snapshot",
      reconcile: ({ name: uid }, signal) =>
        locks.hold(lockUids.snapshot(uid), () => reconcileSnapshot(uid, contexts().snapshot, { signal })),
      watches: [{ store: stores.snapshots, map: (change) => keys(changedBy(change, objects.snapshots)) }],
      reads: [stores.machines, stores.volumes, stores.restores],
      describe: describe("snapshots"),
    }),
    restore: createController({
      ...common,
      name: "restore",
      reconcile: ({ name: uid }, signal) =>
        locks.hold(lockUids.restore(uid), () => reconcileRestore(uid, contexts().restore, { signal })),
      watches: [{ store: stores.restores, map: (change) => keys(changedBy(change, objects.restores)) }],
      reads: [stores.machines, stores.volumes, stores.snapshots],
      describe: describe("restores"),
    }),
    disk: createController({
      ...common,
      name: "disk",
      reconcile: ({ name: uid }, signal) =>
        locks.hold(lockUids.disk(uid), () => reconcileDisk(uid, contexts().disk, { signal })),
      watches: [],
      reads: Object.values(stores),
      describe: ({ name }) => name,
    }),
    image: createController({
      ...common,
      name: "image",
      reconcile: ({ name: uid }, signal) =>
        locks.hold(lockUids.image(uid), () => contexts().imageMaker.reconcile(uid, { signal })),
      watches: [{ store: stores.images, map: ({ before, after }) => keys(uidsOf(before, after)) }],
      reads: [stores.machines, stores.volumes],
      describe: describe("images"),
    }),
  };
};

/** What happens on the host, as passes that have to be made. */
const listen = (
  { rooms, objects }: AgentOptions,
  controllers: Controllers,
  { lookAtMachine, lookAtVolume }: Lookers,
): readonly (() => void)[] => {
  const machinesWith = (which: (machine: VirtualMachine) => boolean): void =>
    objects.machines
      .list()
      .filter(which)
      .forEach(({ metadata }) => lookAtMachine(metadata.uid));
  return [
    rooms.domains.onChange((uid) => (uid === "all" ? machinesWith(() => true) : lookAtMachine(uid))),
    rooms.probes.onChange(lookAtMachine),
    rooms.images.onImageChange((uid) => {
      machinesWith(({ status }) =>
        [status?.allocation?.image, ...(status?.allocation?.cdroms ?? [])].some((one) => one?.uid === uid),
      );
      objects.volumes
        .list()
        .filter(({ status }) => status?.allocation?.image?.uid === uid)
        .forEach(({ metadata }) => lookAtVolume(metadata.uid));
    }),
    // The copy of a machine's root disk, of a Volume, or of an Image.
    rooms.volumes.onChange((uid) => {
      if (objects.machines.get(uid) !== undefined) lookAtMachine(uid);
      if (objects.volumes.get(uid) !== undefined) lookAtVolume(uid);
      if (objects.images.get(uid) !== undefined) controllers.image.enqueue({ name: uid });
    }),
  ];
};

const keys = (uids: readonly string[]) => uids.map((name) => ({ name }));

const uidsOf = (...objects: readonly (KubernetesObject | undefined)[]): readonly string[] => [
  ...new Set(objects.flatMap((object) => object?.metadata.uid ?? [])),
];

/** What this process wrote itself needs no second look. */
const changedBy = <T extends KubernetesObject>(
  { before, after }: Change<T>,
  view: { isOwnWrite(object: T): boolean },
): readonly string[] => (after !== undefined && view.isOwnWrite(after) ? [] : uidsOf(before, after));

/** Of a machine that was released nothing is left. */
const uidsToLookAt = (change: Change<VirtualMachine>, { machines }: OwnObjects): readonly string[] => {
  const { before, after } = change;
  if (after === undefined && isTrue(before?.status?.conditions, "Released")) return [];
  return changedBy(change, machines);
};

/** The machine waits for its Volumes to be made, and makes them larger that its guest has. */
const machinesOfVolume = ({ before, after }: Change<Volume>): readonly string[] => {
  const isSame =
    before?.metadata.generation === after?.metadata.generation &&
    before?.status?.sizeMiB === after?.status?.sizeMiB &&
    before?.status?.attachedTo?.uid === after?.status?.attachedTo?.uid;
  if (isSame) return [];
  return [...new Set([before, after].flatMap((volume) => volume?.status?.attachedTo?.uid ?? []))];
};
