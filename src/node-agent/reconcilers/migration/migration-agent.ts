import type { VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { type VirtualMachine, virtualMachines } from "../../../api/virtual-machine.ts";
import { volumes } from "../../../api/volume.ts";
import {
  type Change,
  createController,
  formatKey,
  keyOf,
  type KubeClient,
  type Logger,
  type Metrics,
  systemClock,
} from "../../../kube/index.ts";
import type { Agent } from "../../agent.ts";
import type { Arrivals } from "./arrivals.ts";
import type { Disks } from "../../disks/index.ts";
import { isTerminating, type MigrationContext } from "./migration-context.ts";
import type { MigrationHolds } from "./migration-holds.ts";
import type { MigrationStores, MigrationView } from "./migration-objects.ts";
import type { MigrationPeers } from "./migration-peers.ts";
import { migrationRoutes } from "./migration-routes.ts";
import type { Migrations } from "../../migrations/index.ts";
import type { OwnObjects, OwnStores } from "../../own-objects.ts";
import { reconcileMigration } from "./reconcile-migration.ts";
import { resumeStrandedGuests } from "./stranded-guests.ts";
import type { Route } from "../../server/index.ts";

export interface MigrationAgentOptions {
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly stores: OwnStores;
  readonly objects: OwnObjects;
  readonly migrations: MigrationView;
  readonly holds: MigrationHolds;
  readonly room: Migrations;
  readonly arrivals: Arrivals;
  readonly peers: MigrationPeers;
  readonly images: Pick<Disks, "onImageChange">;
  readonly agent: Pick<Agent, "steps" | "lookAtMachine" | "holdMachine">;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly now: () => Date;
}

/** The loop over the migrations that this node is an end of, and what the other ends ask of it. */
export interface MigrationAgent {
  readonly routes: readonly Route[];
  run(signal: AbortSignal): Promise<void>;
}

const uidsOf = ({ before, after }: Change<VirtualMachineMigration>) =>
  [...new Set([before, after].flatMap((one) => one?.metadata.uid ?? []))].map((name) => ({ name }));

const machinesOf = ({ before, after }: Change<VirtualMachineMigration>): readonly string[] => [
  ...new Set([before, after].flatMap((one) => one?.status?.machineUid ?? [])),
];

const contextOf = (
  options: MigrationAgentOptions,
  lookAt: (migrationUid: string) => void,
): MigrationContext => {
  const { client, agent, objects } = options;
  return {
    ...options,
    steps: agent.steps,
    machines: objects.machines,
    lookAt,
    readMachine: async ({ metadata, spec, status }, { signal }) => {
      const key = { namespace: metadata.namespace, name: spec.virtualMachine };
      const machine = await client.get(virtualMachines, key, { signal });
      return machine?.metadata.uid === status?.machineUid ? machine : undefined;
    },
    readVolume: async ({ namespace, name, uid }, { signal }) => {
      const volume = await client.get(volumes, { namespace, name }, { signal });
      return volume?.metadata.uid === uid ? volume : undefined;
    },
  };
};

/** What a migration goes by: whether the machine is this node's, and whether it is to stay at all. */
const standingOf = (machine: VirtualMachine | undefined): string =>
  machine === undefined ? "elsewhere" : isTerminating(machine) ? "terminating" : "here";

/**
 * What is asked for beside changes of migrations: a machine that has come, gone or
 * been deleted lets one end go on, and so do an image and a disk that are there.
 */
const alsoLook = (options: MigrationAgentOptions, lookAt: (migrationUid: string) => void) => {
  const { stores, migrations, agent, images } = options;
  const lookAtThose = (which: (status: VirtualMachineMigration["status"]) => boolean): void => {
    for (const { metadata, status } of migrations.list()) if (which(status)) lookAt(metadata.uid);
  };
  const lookAtPreparing = (): void => lookAtThose((status) => status?.phase === "Preparing");
  const both: readonly MigrationStores[keyof MigrationStores][] = [stores.outgoing, stores.incoming];
  const stops = [
    stores.machines.onChange(({ before, after }) => {
      const uid = (before ?? after)?.metadata.uid;
      if (standingOf(before) !== standingOf(after)) lookAtThose((status) => status?.machineUid === uid);
    }),
    ...both.map((store) =>
      store.onChange((change) => machinesOf(change).forEach((uid) => agent.lookAtMachine(uid))),
    ),
    agent.steps.domains.onChange((vmUid) =>
      lookAtThose((status) => vmUid === "all" || status?.machineUid === vmUid),
    ),
    images.onImageChange(lookAtPreparing),
    agent.steps.volumes.onChange(lookAtPreparing),
  ];
  return () => stops.forEach((stop) => stop());
};

const freeStrandedGuests = async (options: MigrationAgentOptions, signal: AbortSignal): Promise<void> => {
  const { stores, migrations, room, agent, logger } = options;
  try {
    for (const store of [stores.machines, stores.outgoing, stores.incoming]) await store.whenSynced(signal);
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  const stranded = {
    machineUids: () => stores.machines.list().map(({ metadata }) => metadata.uid),
    migrations: () => migrations.list(),
    room,
    hold: (uid: string, work: () => Promise<void>) => agent.holdMachine(uid, work),
    clock: systemClock,
    logger,
  };
  await resumeStrandedGuests(stranded, signal);
};

export const createMigrationAgent = (options: MigrationAgentOptions): MigrationAgent => {
  const { stores, migrations, agent, logger, metrics } = options;
  const lookAt = (uid: string): void => controller.enqueue({ name: uid });
  const context = contextOf(options, lookAt);
  const controller = createController({
    name: "migration",
    reconcile: ({ name: uid }, signal) => {
      const machineUid = migrations.get(uid)?.status?.machineUid;
      const pass = () => reconcileMigration(uid, context, { signal });
      return machineUid === undefined ? pass() : agent.holdMachine(machineUid, pass);
    },
    watches: [
      { store: stores.outgoing, map: uidsOf },
      { store: stores.incoming, map: uidsOf },
    ],
    reads: [stores.machines, stores.volumes, stores.snapshots, stores.restores],
    backoff: { initialMs: 200, maxMs: 10_000 },
    describe: ({ name: uid }) => {
      const migration = migrations.get(uid);
      return migration === undefined ? uid : formatKey(keyOf(migration));
    },
    logger,
    metrics,
  });
  return {
    routes: migrationRoutes(context),
    run: async (signal) => {
      const stop = alsoLook(options, lookAt);
      await Promise.all([controller.run(signal), freeStrandedGuests(options, signal)]).finally(stop);
    },
  };
};
