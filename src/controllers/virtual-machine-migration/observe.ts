import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { formatKey, type ObjectKey, UnreadableObjectError } from "../../kube/index.ts";
import type { Books } from "../books.ts";
import { byAge } from "../by-age.ts";
import type { Stores } from "../context.ts";
import { nodeViewsOf } from "../node-views.ts";
import { BY_FLIGHT, BY_MACHINE, BY_UID, UNACCEPTED } from "../stores.ts";
import type { NodeView } from "../virtual-machine/relocation.ts";
import type { Others } from "../virtual-machine-snapshot/turn.ts";
import type { Flight } from "./claims.ts";
import { flightsOf } from "./flights.ts";
import { waitsForSlot } from "./slots.ts";

export interface MigrationFacts extends Others {
  readonly migration: VirtualMachineMigration;
  /** The machine that moves; before it is accepted the one of that name. Undefined when there is none. */
  readonly machine: VirtualMachine | undefined;
  /** The node that the machine leaves; before it is accepted the one that has it. */
  readonly source: Hypervisor | undefined;
  /** The node that it moves to; before it is accepted the one that is asked for. */
  readonly target: Hypervisor | undefined;
  /** The Volumes that the machine was given. */
  readonly givenVolumes: readonly Volume[];
  /** All nodes, with what they have given out; looked at until it is accepted. */
  readonly nodes: readonly NodeView[];
  /** Other machines on their way. */
  readonly flights: readonly Flight[];
  /** Other migrations that wait for a place among those, and where their machines are; the oldest first. */
  readonly queue: readonly Queued[];
  /** How many machines may be on their way at a time in the cluster. */
  readonly maxParallel: number;
  /** An acceptance that was decided before and may have been written. */
  readonly promised: Flight | undefined;
  /** Machines that exist and cannot be understood: what they were given is not known. */
  readonly unreadableMachines: number;
  /** Time since this process first saw it, in ms. */
  readonly seenForMs: number;
}

/** A migration that waits for a place. */
export interface Queued {
  readonly migration: VirtualMachineMigration;
  readonly sourceNode: string;
  /** Undefined when the scheduler is to choose. */
  readonly targetNode: string | undefined;
}

export interface MigrationMemory {
  readonly books: Books;
  readonly maxParallel: number;
  readonly seenForMs: (uid: string) => number;
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeMigration = (
  stores: Stores,
  { books, maxParallel, seenForMs }: MigrationMemory,
  key: ObjectKey,
): MigrationFacts | undefined => {
  const migration = stores.virtualMachineMigrations.get(key);
  if (migration === undefined) return undefined;
  const { metadata, spec, status } = migration;
  const machine = machineOf(stores, migration);
  const hypervisorOf = (name: string | undefined) =>
    name === undefined ? undefined : stores.hypervisors.get({ name });
  const isOpen = status?.sourceNode === undefined;
  return {
    migration,
    machine,
    source: hypervisorOf(status?.sourceNode ?? machine?.status?.nodeName),
    target: hypervisorOf(status?.targetNode ?? spec.targetNode),
    givenVolumes: givenVolumesOf(stores, machine),
    nodes: isOpen ? nodeViewsOf(stores, books.ledger.usage()) : [],
    flights: otherFlights(stores, books, metadata.uid),
    queue: isOpen ? queueOf(stores, metadata.uid) : [],
    maxParallel,
    promised: books.promises.find(metadata.uid),
    ...othersOf(stores, migration),
    unreadableMachines: stores.virtualMachines.unreadable().length,
    seenForMs: seenForMs(metadata.uid),
  };
};

/** Of that uid if it was accepted, else of that name. Throws when it cannot be understood. */
const machineOf = (
  { virtualMachines }: Stores,
  { metadata, spec, status }: VirtualMachineMigration,
): VirtualMachine | undefined => {
  const machine = virtualMachines.get({ namespace: metadata.namespace, name: spec.virtualMachine });
  const isMeant = status?.machineUid === undefined || status.machineUid === machine?.metadata.uid;
  return isMeant ? machine : undefined;
};

/** The Volumes that the machine has by its allocation. */
export const givenVolumesOf = (
  { volumes }: Pick<Stores, "volumes">,
  machine: VirtualMachine | undefined,
): readonly Volume[] =>
  (machine?.status?.allocation?.volumes ?? []).flatMap(({ uid }) => volumes.byIndex(BY_UID, uid));

const othersOf = (stores: Stores, { metadata, spec }: VirtualMachineMigration): Others => {
  const machine = formatKey({ namespace: metadata.namespace, name: spec.virtualMachine });
  return {
    requests: [
      ...stores.virtualMachineSnapshots.byIndex(BY_MACHINE, machine),
      ...stores.virtualMachineRestores.byIndex(BY_MACHINE, machine),
    ],
    migrations: stores.virtualMachineMigrations.byIndex(BY_MACHINE, machine),
  };
};

const otherFlights = (stores: Stores, { promises }: Books, uid: string): readonly Flight[] =>
  [...flightsOf(stores.virtualMachineMigrations, promises)]
    .filter(([migrationUid]) => migrationUid !== uid)
    .map(([, flight]) => flight);

const queueOf = (stores: Stores, uid: string): readonly Queued[] =>
  stores.virtualMachineMigrations
    .byIndex(BY_FLIGHT, UNACCEPTED)
    .filter((migration) => migration.metadata.uid !== uid && waitsForSlot(migration))
    .toSorted(byAge)
    .flatMap((migration) => {
      const sourceNode = nodeNameOf(stores, migration);
      return sourceNode === undefined
        ? []
        : [{ migration, sourceNode, targetNode: migration.spec.targetNode }];
    });

/** A machine that cannot be understood keeps nobody else waiting. */
const nodeNameOf = (stores: Stores, migration: VirtualMachineMigration): string | undefined => {
  try {
    return machineOf(stores, migration)?.status?.nodeName;
  } catch (error) {
    if (error instanceof UnreadableObjectError) return undefined;
    throw error;
  }
};
