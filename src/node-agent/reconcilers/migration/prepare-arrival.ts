import type { VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { desiredLink, type GuestParts, type PlacedMachine, type VolumeDisk } from "../../desired.ts";
import {
  type MigrationContext,
  type MigrationOptions,
  type MovingDisk,
  movingDisks,
  refOf,
} from "./migration-context.ts";
import { ensureSeed } from "../machine/steps.ts";
import { withImage } from "../storage/storage.ts";
import { DamagedDiskError, DiskStateError } from "../../volumes/index.ts";
import type { CachedImage, DiskChain } from "../../volumes/types.ts";

/** Why the machine cannot come yet. */
export interface NotReady {
  readonly kind: "not-ready";
  readonly reason: string;
  readonly message: string;
}

const notReady = (reason: string, message: string): NotReady => ({ kind: "not-ready", reason, message });

/** The image that a disk stands on must be here before the disk; undefined when it stands on none, or it is here. */
const awaitImage = async (
  disk: MovingDisk,
  { machine, allocation }: PlacedMachine,
  { steps, readVolume }: MigrationContext,
  options: MigrationOptions,
): Promise<NotReady | undefined> => {
  const namespace = machine.metadata.namespace ?? "";
  const image =
    disk.name === undefined
      ? allocation.image
      : (await readVolume({ namespace, name: disk.name, uid: disk.uid }, options))?.status?.allocation?.image;
  if (image === undefined) return undefined;
  const found = await withImage(image, async (cached) => cached, steps, options);
  return "kind" in found ? notReady(found.reason, found.message) : undefined;
};

/** What a person has to look at is told; what passes is tried again. */
const tellConflict = (error: unknown): NotReady => {
  if (error instanceof DiskStateError || error instanceof DamagedDiskError)
    return notReady("DiskConflict", `This node cannot take the machine: ${error.message}.`);
  throw error;
};

/** Undefined when the disk was never made: its machine has never been started, and nothing is lost. */
const receiveDisk = async (
  disk: MovingDisk,
  { machine }: PlacedMachine,
  migration: VirtualMachineMigration,
  { steps, peers }: MigrationContext,
  options: MigrationOptions,
): Promise<DiskChain | NotReady | undefined> => {
  const ref = refOf(disk);
  const isNew = disk.kind === "root" && machine.status?.guest?.startedAt === undefined;
  if (disk.isShared) {
    const chain = await steps.volumes.disks.find(ref, options);
    if (chain !== undefined || isNew) return chain;
    return notReady("DiskMissing", `Shared pool ${disk.pool} has no disk ${disk.uid} on this node.`);
  }
  const { uid } = migration.metadata;
  const source = peers.source(migration.status?.sourceNode ?? "", uid);
  const manifest = await source.disk(disk.kind, disk.uid, options);
  if (manifest === undefined)
    return isNew ? undefined : notReady("DiskMissing", `The source has no disk ${disk.uid}.`);
  const want = {
    migrationUid: uid,
    ref,
    manifest,
    withHead: migration.status?.live === false,
    fetch: (name: string, fetchOptions: MigrationOptions) => source.file(disk, name, fetchOptions),
  };
  const outcome = await steps.volumes.transfers.receive(want, options);
  switch (outcome.kind) {
    case "ready":
      return outcome.chain;
    case "working":
      return notReady(
        "CopyingDisks",
        `Disk ${disk.name ?? "root"} is being copied: ${outcome.progressPercent} %.`,
      );
    case "failed":
      return notReady(outcome.reason, `Disk ${disk.name ?? "root"}: ${outcome.message}`);
  }
};

interface ReceivedDisks {
  readonly rootDisk: DiskChain | undefined;
  readonly volumes: readonly VolumeDisk[];
}

const receiveDisks = async (
  target: PlacedMachine,
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<ReceivedDisks | NotReady> => {
  const volumes: VolumeDisk[] = [];
  let rootDisk: DiskChain | undefined;
  for (const disk of await movingDisks(target, context, options)) {
    const missing = disk.isShared ? undefined : await awaitImage(disk, target, context, options);
    if (missing !== undefined) return missing;
    const chain = await receiveDisk(disk, target, migration, context, options).catch(tellConflict);
    if (chain === undefined) continue;
    if ("kind" in chain) return chain;
    if (disk.name === undefined) rootDisk = chain;
    else volumes.push({ name: disk.name, uid: disk.uid, chain });
  }
  return { rootDisk, volumes };
};

/** All that a guest which is off needs here before it is this node's: its disks. Undefined when they are. May be repeated. */
export const prepareDisks = async (
  target: PlacedMachine,
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<NotReady | undefined> => {
  const disks = await receiveDisks(target, migration, context, options);
  return "kind" in disks ? disks : undefined;
};

const findCdroms = async (
  { allocation }: PlacedMachine,
  { steps }: MigrationContext,
  options: MigrationOptions,
): Promise<ReadonlyMap<string, CachedImage> | NotReady> => {
  const cdroms = new Map<string, CachedImage>();
  for (const image of allocation.cdroms ?? []) {
    const found = await withImage(image, async (cached) => cached, steps, options);
    if ("kind" in found) return notReady(found.reason, found.message);
    cdroms.set(image.uid, found);
  }
  return cdroms;
};

/**
 * Everything that a guest which runs needs on this node, and nothing that leads to it
 * yet: disks, CD-ROMs, seed, taps without a route, rules. May be repeated.
 */
export const prepareArrival = async (
  target: PlacedMachine,
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<GuestParts | NotReady> => {
  const { steps, arrivals } = context;
  arrivals.expect(migration.metadata.uid, target.machine);
  const disks = await receiveDisks(target, migration, context, options);
  if ("kind" in disks) return disks;
  const { rootDisk, volumes } = disks;
  if (rootDisk === undefined) return notReady("DiskMissing", "The machine has no root disk.");
  const cdroms = await findCdroms(target, context, options);
  if ("kind" in cdroms) return cdroms;
  const seedPath = await ensureSeed(target, steps, options);
  const taps = await steps.links.ensure({ ...desiredLink(target), isArriving: true }, options);
  await steps.syncNetwork();
  return { rootDisk, volumes, cdroms, seedPath, taps, acceleration: await steps.acceleration() };
};
