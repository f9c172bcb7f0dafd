import type { GuestParts, PlacedMachine, VolumeDisk } from "../../desired.ts";
import type { MissingStorage } from "./machine-status.ts";
import type { StepContext } from "./steps.ts";
import {
  copiedFrom,
  ensureDisk,
  growWhileOff,
  type StoredDisk,
  type WantedDisk,
  wantedRootDisk,
  wantedVolumeDisk,
  withImage,
} from "../storage/storage.ts";
import type { CachedImage } from "../../volumes/types.ts";

interface Options {
  readonly signal: AbortSignal;
}

/** All that a guest is started with from storage; or the first thing that is not there. */
export type GuestDisks =
  | { readonly kind: "ready"; readonly disks: Pick<GuestParts, "rootDisk" | "volumes" | "cdroms"> }
  | MissingStorage;

const ensureAsLargeAsWanted = async (
  want: WantedDisk,
  context: StepContext,
  options: Options,
): Promise<StoredDisk> => {
  const disk = await ensureDisk(want, context, options);
  return disk.kind === "ready" ? growWhileOff(want, disk.chain, context, options) : disk;
};

const ensureVolumes = async (
  { allocation }: PlacedMachine,
  context: StepContext,
  options: Options,
): Promise<readonly VolumeDisk[] | MissingStorage> => {
  const disks: VolumeDisk[] = [];
  for (const { name, uid } of allocation.volumes ?? []) {
    const volume = context.volumeObjects.get(uid);
    if (volume === undefined) {
      const message = `Volume ${name} is not on this node yet.`;
      return { kind: "waiting", reason: "VolumesNotReady", message };
    }
    const disk = await ensureAsLargeAsWanted(wantedVolumeDisk(volume), context, options);
    if (disk.kind !== "ready") return { ...disk, message: `Volume ${name}: ${disk.message}` };
    disks.push({ name, uid, chain: disk.chain });
  }
  return disks;
};

const ensureCdroms = async (
  { allocation }: PlacedMachine,
  { images }: StepContext,
  options: Options,
): Promise<ReadonlyMap<string, CachedImage> | MissingStorage> => {
  const cdroms = new Map<string, CachedImage>();
  for (const image of allocation.cdroms ?? []) {
    const cached = await withImage(image, async (one) => one, { images }, options);
    if ("kind" in cached) return cached;
    cdroms.set(image.uid, cached);
  }
  return cdroms;
};

/** Makes the disks of a guest that is off, or finds them: root disk, Volumes, CD-ROMs. Never waits for a copy. */
export const guestDisks = async (
  target: PlacedMachine,
  context: StepContext,
  options: Options,
): Promise<GuestDisks> => {
  const wanted = wantedRootDisk(target);
  const root = await ensureAsLargeAsWanted(wanted, context, options);
  if (root.kind !== "ready") return root;
  const isFirstStart = target.machine.status?.guest?.startedAt === undefined;
  if (isFirstStart) for (const source of copiedFrom(wanted)) context.lookAtDisk(source);
  const volumes = await ensureVolumes(target, context, options);
  if ("kind" in volumes) return volumes;
  const cdroms = await ensureCdroms(target, context, options);
  if ("kind" in cdroms) return cdroms;
  return { kind: "ready", disks: { rootDisk: root.chain, volumes, cdroms } };
};
