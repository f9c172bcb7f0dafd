import type { Logger } from "../../../kube/index.ts";
import { done, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import type { Disks } from "../../disks/index.ts";
import { type MergeContext, mergeDisk } from "./merge-disk.ts";
import type { OwnObjects } from "../../own-objects.ts";
import type { Volumes } from "../../volumes/index.ts";
import type { FoundDisk } from "../../volumes/types.ts";

const CHECK_MS = 1_000;
const WAIT_MS = 5_000;

export interface DiskContext extends MergeContext {
  readonly volumes: Pick<Volumes, "disks" | "snapshots" | "merges">;
  readonly images: Pick<Disks, "findImage">;
  readonly objects: OwnObjects;
  /** Names objects of this node that exist and cannot be read: what they need is not known. */
  readonly hasUnreadable: () => boolean;
  readonly logger: Logger;
}

interface Options {
  readonly signal: AbortSignal;
}

/** The objects of this node by which a frozen layer may be needed. */
const kinds = ["snapshots", "volumes", "machines", "images"] as const;

/**
 * Whether somebody needs what goes by this UID in a disk: a snapshot, or the
 * copy of the disk that becomes a machine's root disk, a Volume or an Image.
 * What is unknown here is asked of the API server before it counts for nobody's.
 */
const isNeeded = async (uid: string, context: DiskContext, options: Options): Promise<boolean> => {
  const { objects, images, volumes } = context;
  if (objects.snapshots.get(uid) !== undefined) return true;
  const volume = objects.volumes.get(uid);
  if (volume !== undefined) return volume.status?.sizeMiB === undefined;
  if (objects.machines.get(uid) !== undefined) {
    const root = await volumes.disks.locate("root", uid, options);
    return root === undefined || (await volumes.disks.find(root, options)) === undefined;
  }
  if (objects.images.get(uid) !== undefined) return (await images.findImage(uid)) === undefined;
  for (const kind of kinds) if (await objects[kind].existsInCluster(uid, options)) return true;
  return false;
};

/** UIDs in a disk that no object of this node explains: of frozen states, and of the disk itself. */
const unexplained = (
  { ref, state, snapshots, retained }: FoundDisk,
  objects: OwnObjects,
): readonly string[] => {
  const owners = ref.kind === "root" ? objects.machines : objects.volumes;
  // What is kept or damaged has no owner, or needs none.
  const hasOwner = (state === "ready" || state === "unfinished") && retained === undefined;
  return [
    ...snapshots.map(({ uid }) => uid).filter((uid) => objects.snapshots.get(uid) === undefined),
    ...(hasOwner && owners.get(ref.uid) === undefined ? [ref.uid] : []),
  ];
};

/**
 * The disks that a sweep has to have looked at: those with a merge that was
 * begun, and those in which something may be nobody's. In shared pools most
 * things are other nodes': the API server is asked once for all of them.
 */
export const suspectsOf = async (
  found: readonly FoundDisk[],
  objects: OwnObjects,
  options: Options,
): Promise<readonly FoundDisk[]> => {
  const odd = found.filter((disk) => unexplained(disk, objects).length > 0);
  // Of a disk that somebody elsewhere has a word in, the merge is his: its guest may have it open there.
  const merging = found.filter(
    (disk) => disk.pending?.kind === "merge" && unexplained(disk, objects).length === 0,
  );
  if (odd.length === 0) return merging;
  const lists = await Promise.all(kinds.map((kind) => objects[kind].uidsInCluster(options)));
  const isElsewhere = (uid: string): boolean =>
    kinds.every((kind) => objects[kind].get(uid) === undefined) && lists.some((uids) => uids.has(uid));
  const suspect = odd.filter((disk) => unexplained(disk, objects).some((uid) => !isElsewhere(uid)));
  return [...new Set([...merging, ...suspect])];
};

/** The disk of a Volume that exists nowhere: its object went while no agent looked. */
const isOrphan = async ({ ref, retained }: FoundDisk, { objects }: DiskContext, options: Options) =>
  ref.kind === "volume" &&
  retained === undefined &&
  objects.volumes.get(ref.uid) === undefined &&
  !(await objects.volumes.existsInCluster(ref.uid, options));

/**
 * Whether the disk belongs to another node's machine, Volume or snapshot: a
 * guest may have it open there, which nobody here would notice.
 */
const isAnotherNodes = async (
  { ref, snapshots }: FoundDisk,
  { objects }: DiskContext,
  options: Options,
): Promise<boolean> => {
  const owners = ref.kind === "root" ? objects.machines : objects.volumes;
  if (owners.get(ref.uid) !== undefined) return false;
  if (await owners.existsInCluster(ref.uid, options)) return true;
  const unknown = snapshots.filter(({ uid }) => objects.snapshots.get(uid) === undefined);
  if (unknown.length === 0) return false;
  const all = await objects.snapshots.uidsInCluster(options);
  return unknown.some(({ uid }) => all.has(uid));
};

/** Of the disks that go by this UID: what nobody needs goes, and layers become as few as can be. */
export const reconcileDisk = async (
  uid: string,
  context: DiskContext,
  options: Options,
): Promise<ReconcileResult> => {
  if (context.hasUnreadable()) return done;
  const all = await context.volumes.disks.list(options);
  const found = all.filter(({ ref, state }) => ref.uid === uid && state !== "damaged");
  const results = [];
  for (const disk of found)
    if (!(await isAnotherNodes(disk, context, options))) results.push(await tidy(disk, context, options));
  return results.find(({ kind }) => kind === "requeue-after") ?? done;
};

const tidy = async (disk: FoundDisk, context: DiskContext, options: Options): Promise<ReconcileResult> => {
  const { ref, snapshots } = disk;
  const { volumes, logger } = context;
  for (const { uid } of snapshots) {
    if (await isNeeded(uid, context, options)) continue;
    logger.info({ disk: ref.uid, snapshot: uid }, "gives up a frozen state of a disk that nobody needs");
    await volumes.snapshots.discard(uid, [ref], options);
  }
  if (await isOrphan(disk, context, options)) {
    logger.info({ volume: ref.uid }, "removes what was left of a Volume that no longer exists");
    const outcome = await volumes.disks.remove(ref, options);
    if (outcome.kind === "working") return requeueAfter(CHECK_MS);
  }
  if (disk.state === "unfinished" || disk.retained !== undefined) return done;
  const progress = await mergeDisk(ref, context, options);
  switch (progress.kind) {
    case "done":
      return done;
    case "working":
      return requeueAfter(progress.checkAfterMs);
    case "waiting":
      return requeueAfter(WAIT_MS);
    case "failed":
      return requeueAfter(progress.retryAfterMs);
  }
};
