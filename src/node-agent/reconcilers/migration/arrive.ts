import type { VirtualMachineMigration } from "../../../api/virtual-machine-migration.ts";
import { isConflict } from "../../../kube/index.ts";
import { desiredDomain, desiredLink, type PlacedMachine } from "../../desired.ts";
import {
  type MigrationContext,
  type MigrationOptions,
  movingDisks,
  requireMachine,
} from "./migration-context.ts";
import { prepareArrival } from "./prepare-arrival.ts";
import { PeerProblemError } from "../../server/index.ts";

/** What the target does when the source's agent asks it to. */

const conflict = (message: string): PeerProblemError => new PeerProblemError(409, "Conflict", message);

const isCopying = ({ metadata, status }: VirtualMachineMigration): boolean =>
  status?.phase === "Copying" && metadata.deletionTimestamp === undefined;

/** As the API server has it: the source may have changed the phase a moment ago. */
const requireCopying = async (
  migration: VirtualMachineMigration,
  { migrations }: MigrationContext,
  options: MigrationOptions,
): Promise<VirtualMachineMigration> => {
  const newest = await migrations.read(migration, options);
  if (newest !== undefined && isCopying(newest)) return newest;
  throw conflict(`the migration is ${newest?.status?.phase ?? "gone"}, not Copying`);
};

/** This node's own description of the guest that runs at the source, and with it what is to come. */
export const describeAsAsked = async (
  migration: VirtualMachineMigration,
  runningXml: string,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<string> => {
  await requireCopying(migration, context, options);
  const target = await requireMachine(migration, context, options);
  const parts = await prepareArrival(target, migration, context, options);
  if ("kind" in parts) throw conflict(parts.message);
  const want = desiredDomain(target, parts);
  const { xml, hardware } = await context.steps.domains.describeArriving(want, runningXml, options);
  const disks = await movingDisks(target, context, options);
  const copied = new Set(disks.filter(({ isShared }) => !isShared).map(({ uid }) => uid));
  await context.room.arrive({
    migrationUid: migration.metadata.uid,
    vmUid: target.machine.metadata.uid,
    xml,
    copiedDisks: hardware.disks
      .filter(({ kind, uid }) => kind === "disk" && copied.has(uid))
      .map(({ target: name }) => name),
    hasSharedDisks: disks.some(({ isShared }) => isShared),
  });
  return xml;
};

export const arriveAsAsked = async (
  migration: VirtualMachineMigration,
  cookie: Buffer,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<Buffer> => {
  await requireCopying(migration, context, options);
  const session = context.room.incoming(migration.metadata.uid);
  if (session === undefined) throw conflict("nothing was described before");
  return session.prepare(cookie, options);
};

const SWITCHING = {
  phase: "Switching",
  said: { reason: "Switching", message: "The guest is let go on at its new node." },
} as const;

/**
 * The guest stands still meanwhile, so that the API server is asked only when the
 * migration is not as this process knows it: the source says how far it is now and then.
 */
const switchOver = async (
  migration: VirtualMachineMigration,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<void> => {
  for (let known = migration; ; known = await requireCopying(migration, context, options)) {
    if (!isCopying(known)) continue;
    try {
      await context.migrations.swap(known, SWITCHING, options);
      return;
    } catch (error) {
      if (!isConflict(error)) throw error;
    }
  }
};

/**
 * The ways lead here while libvirt lets the guest go on: it need not wait for them
 * then. Where that is not possible now, the next pass does it.
 */
const leadHere = async (
  target: Promise<PlacedMachine | undefined>,
  { steps }: MigrationContext,
): Promise<void> => {
  const placed = await target;
  if (placed === undefined) return;
  const { signal } = new AbortController();
  await steps.links.ensure(desiredLink(placed), { signal }).catch(() => {});
};

/**
 * From the moment that the phase is Switching the source lets its guest be, and
 * this node alone decides. What comes of it, the next pass reads from libvirt.
 */
export const finishAsAsked = async (
  migration: VirtualMachineMigration,
  cookie: Buffer,
  context: MigrationContext,
  options: MigrationOptions,
): Promise<Buffer> => {
  const { uid } = migration.metadata;
  const session = context.room.incoming(uid);
  if (session === undefined) throw conflict("nothing was prepared before");
  const machine = requireMachine(migration, context, options).catch(() => undefined);
  try {
    await switchOver(migration, context, options);
    // Not given up with the request: the phase says that it happens.
    const [answer] = await Promise.all([session.finish(cookie), leadHere(machine, context)]);
    return answer;
  } finally {
    await context.room.forget(uid);
    context.lookAt(uid);
  }
};
