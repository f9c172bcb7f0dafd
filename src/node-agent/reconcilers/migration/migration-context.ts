import type { Volume } from "../../../api/volume.ts";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import type { VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import type { Arrivals } from "./arrivals.ts";
import { type PlacedMachine, placed } from "../../desired.ts";
import type { MigrationView } from "./migration-objects.ts";
import type { MigrationPeers } from "./migration-peers.ts";
import type { MigrationHolds } from "./migration-holds.ts";
import type { Migrations } from "../../migrations/index.ts";
import type { StepContext } from "../machine/steps.ts";
import type { DiskRef } from "../../volumes/types.ts";
import { LOCAL_POOL } from "../../../api/storage-pool.ts";

export interface MigrationOptions {
  readonly signal: AbortSignal;
}

/** What the agent does migrations with. */
export interface MigrationContext {
  readonly nodeName: string;
  readonly migrations: MigrationView;
  readonly room: Migrations;
  readonly steps: StepContext;
  readonly peers: MigrationPeers;
  readonly arrivals: Arrivals;
  readonly holds: MigrationHolds;
  /** The machines of this node, as the watch has brought them. */
  readonly machines: { get(uid: string): VirtualMachine | undefined };
  /** As the API server has them at this moment. */
  readonly readMachine: (
    migration: VirtualMachineMigration,
    options: MigrationOptions,
  ) => Promise<VirtualMachine | undefined>;
  readonly readVolume: (
    volume: { readonly namespace: string; readonly name: string; readonly uid: string },
    options: MigrationOptions,
  ) => Promise<Volume | undefined>;
  /** Asks for another pass over the migration. */
  readonly lookAt: (migrationUid: string) => void;
  readonly now: () => Date;
}

/** Throws unless the migration names a machine that exists and is placed. */
export const requireMachine = async (
  migration: VirtualMachineMigration,
  { readMachine }: Pick<MigrationContext, "readMachine">,
  options: MigrationOptions,
): Promise<PlacedMachine> => {
  const machine = await readMachine(migration, options);
  const target = machine && placed(machine);
  if (target === undefined)
    throw new Error(`machine ${migration.spec.virtualMachine} is gone, or not placed`);
  return target;
};

/** Has somebody deleted the machine? Then there is nothing to move it for. */
export const isTerminating = (machine: VirtualMachine | undefined): boolean =>
  machine?.metadata.deletionTimestamp !== undefined;

/** A disk of a machine that moves. */
export interface MovingDisk extends DiskRef {
  /** Name of the Volume; undefined for the root disk. */
  readonly name: string | undefined;
  /** Whether the other node has the same files already. */
  readonly isShared: boolean;
}

/** All disks of a machine: the root disk, and the Volumes that it was given. */
export const movingDisks = async (
  { machine, allocation }: PlacedMachine,
  { steps, readVolume }: Pick<MigrationContext, "steps" | "readVolume">,
  options: MigrationOptions,
): Promise<readonly MovingDisk[]> => {
  const pools = await steps.volumes.pools(options);
  const isShared = (pool: string): boolean => pools.some(({ name, shared }) => name === pool && shared);
  const pool = allocation.pool ?? LOCAL_POOL;
  const { uid, namespace = "" } = machine.metadata;
  const root: MovingDisk = { pool, kind: "root", uid, name: undefined, isShared: isShared(pool) };
  const disks = [root];
  for (const given of allocation.volumes ?? []) {
    const volume = await readVolume({ ...given, namespace }, options);
    if (volume === undefined) throw new Error(`Volume ${given.name} of the machine is gone`);
    const there = volume.spec.pool;
    disks.push({ ...given, pool: there, kind: "volume", isShared: isShared(there) });
  }
  return disks;
};

export const refOf = ({ pool, kind, uid }: MovingDisk): DiskRef => ({ pool, kind, uid });
