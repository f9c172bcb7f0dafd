import type { CachedImageStatus } from "../../../api/hypervisor.ts";
import type { Image } from "../../../api/image.ts";
import { done, type ReconcileResult, requeueAfter } from "../../../kube/index.ts";
import { diskReferenceOf } from "./disk-users.ts";
import type { Disks } from "../../disks/index.ts";
import { type Freezer, FreezeRefusedError, NotQuiescedError } from "./freeze.ts";
import type { LifecycleMetrics } from "../../lifecycle-metrics.ts";
import type { Volumes } from "../../volumes/index.ts";
import type { DiskRef, ExportOutcome } from "../../volumes/types.ts";

const CHECK_MS = 5_000;
const RETRY_MS = 30_000;

/** What this node says of images that it makes and that are not in its cache yet. */
export interface ImageExports {
  /** For Hypervisor.status.images. */
  list(): readonly CachedImageStatus[];
  onChange(listener: () => void): () => void;
}

export interface ImageContext {
  /** Images that this node makes of disks. */
  readonly imageObjects: { get(uid: string): Image | undefined };
  readonly images: Pick<Disks, "findImage" | "adoptImage">;
  readonly volumes: Pick<Volumes, "disks" | "exports">;
  readonly freezer: Freezer;
  /** Asks for a pass over a disk, whose layers may be fewer now. */
  readonly lookAtDisk: (uid: string) => void;
  readonly metrics: LifecycleMetrics;
}

interface Options {
  readonly signal: AbortSignal;
}

/** Makes images of disks of this node: a pass over one of them. */
export interface ImageMaker extends ImageExports {
  reconcile(imageUid: string, options: Options): Promise<ReconcileResult>;
}

export const createImageMaker = (context: ImageContext): ImageMaker => {
  const said = new Map<string, CachedImageStatus>();
  const listeners = new Set<() => void>();
  const tell = (uid: string, status: CachedImageStatus | undefined): void => {
    const before = said.get(uid);
    if (before?.state === status?.state && before?.message === status?.message) return;
    if (status === undefined) said.delete(uid);
    else said.set(uid, status);
    for (const listener of listeners) listener();
  };

  return {
    list: () => [...said.values()],
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    reconcile: async (uid, options) => {
      const image = context.imageObjects.get(uid);
      if (image === undefined || image.metadata.deletionTimestamp !== undefined) {
        tell(uid, undefined);
        await context.volumes.exports.remove(uid, options);
        return done;
      }
      const { outcome, next } = await makeImage(image, context, options);
      tell(uid, outcome === undefined ? undefined : { uid, ...outcome });
      return next;
    },
  };
};

type Said = Omit<CachedImageStatus, "uid">;

interface Pass {
  /** What is to be said; undefined once the cache says it. */
  readonly outcome: Said | undefined;
  readonly next: ReconcileResult;
}

const failed = (reason: Said["reason"], message: string, next: ReconcileResult): Pass => ({
  outcome: { state: "Failed", reason, message: message.slice(0, 1024) },
  next,
});

const makeImage = async (image: Image, context: ImageContext, options: Options): Promise<Pass> => {
  const { uid } = image.metadata;
  const { images, volumes } = context;
  const source = image.status?.origin?.disk;
  const named = diskReferenceOf(source ?? {});
  if ((await images.findImage(uid)) !== undefined) {
    await volumes.exports.remove(uid, options);
    // What was frozen for the copy may go.
    if (named.snapshotUid === undefined) context.lookAtDisk(named.uid);
    return { outcome: undefined, next: done };
  }
  const disk = await volumes.disks.locate(named.kind, named.uid, options);
  if (disk === undefined) {
    return failed("NotFound", "The disk that the image is to be made of is not on this node.", done);
  }
  const snapshotUid = named.snapshotUid ?? (await freezeFor(uid, disk, context, options));
  if (snapshotUid === undefined) {
    return failed("FetchFailed", "The disk could not be frozen for the copy.", requeueAfter(RETRY_MS));
  }
  return afterExport(
    await volumes.exports.ensure({ imageUid: uid, disk, snapshotUid }, options),
    context,
    options,
  );
};

/** Undefined when libvirt does not take the snapshot now. Named after the image, so that whoever finds it knows what it is for. */
const freezeFor = async (
  imageUid: string,
  disk: DiskRef,
  { freezer }: ImageContext,
  options: Options,
): Promise<string | undefined> => {
  const want = { snapshotUid: imageUid, disks: [disk], withMemory: false, quiesce: "IfPossible" } as const;
  try {
    await freezer.freeze(want, options);
    return imageUid;
  } catch (error) {
    if (error instanceof FreezeRefusedError || error instanceof NotQuiescedError) return undefined;
    throw error;
  }
};

const afterExport = async (
  outcome: ExportOutcome,
  { images, metrics }: ImageContext,
  options: Options,
): Promise<Pass> => {
  switch (outcome.kind) {
    case "ready":
      await images.adoptImage(outcome.file, options);
      metrics.imageExported(outcome.file.sizeBytes);
      // The next pass removes what is left of the copy.
      return { outcome: undefined, next: requeueAfter(0) };
    case "working": {
      const message = `The image is being made: ${outcome.progressPercent} %.`;
      return { outcome: { state: "Fetching", message }, next: requeueAfter(CHECK_MS) };
    }
    case "failed": {
      const reason = outcome.reason === "NoSpace" ? "NoSpace" : "FetchFailed";
      return failed(reason, outcome.message, requeueAfter(outcome.retryAfterMs));
    }
    case "refused":
      return failed(outcome.reason, outcome.message, done);
  }
};
