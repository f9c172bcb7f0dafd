import type { RetainedVolume } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import { parseQuantity } from "../../api/quantity.ts";
import type { Volume } from "../../api/volume.ts";
import { sentence } from "../conditions.ts";
import { judgeSource, type SourceFacts } from "../disk-source/judge.ts";
import { allocateImage } from "../image/allocate.ts";
import { isLocalRefusal, judgeImage, type NodeReport, virtualSizeOf } from "../image/judge.ts";
import { imageNotFoundMessage, type ImageReference } from "../image/visible.ts";
import type { Violation } from "../virtual-machine/violation.ts";

/** Pure: what a Volume starts as. */

/** What spec.source names, as the stores show it. */
export type OriginFacts =
  | { readonly kind: "blank" }
  | {
      readonly kind: "image";
      readonly reference: ImageReference;
      /** Undefined when there is none that the namespace may use. */
      readonly image: Image | undefined;
      readonly reports: readonly NodeReport[];
    }
  | { readonly kind: "disk"; readonly source: SourceFacts }
  | {
      readonly kind: "retained";
      readonly uid: string;
      /** What nodes keep under that uid, of whatever namespace. */
      readonly found: FoundVolume | undefined;
      /** Name of another Volume that has taken it over, or asked for it before. */
      readonly takenBy: string | undefined;
    };

/** Retained data, and the node that tells of them. */
export interface FoundVolume {
  readonly nodeName: string;
  readonly volume: RetainedVolume;
  /** Whether they are in a pool that other nodes have too. */
  readonly isShared: boolean;
}

type Allocation = NonNullable<NonNullable<Volume["status"]>["allocation"]>;

/** What a Volume starts as, resolved: it does not change any more. */
export interface Origin {
  /** Undefined for a Volume that starts empty. */
  readonly allocation: Allocation | undefined;
  /** The node that has the source; undefined when any node can make the Volume. */
  readonly nodeName?: string;
  /** Storage pool from which other nodes can read the source too. */
  readonly sharedPool?: string;
}

export type OriginVerdict =
  | { readonly kind: "resolved"; readonly origin: Origin }
  | { readonly kind: "unusable"; readonly violation: Violation };

/** What the Volume starts as, or why it cannot be made of that yet. */
export const judgeOrigin = (volume: Volume, facts: OriginFacts): OriginVerdict => {
  switch (facts.kind) {
    case "blank":
      return resolved({ allocation: undefined });
    case "image":
      return judgeImageOrigin(volume, facts);
    case "disk":
      return judgeDiskOrigin(volume, facts.source);
    case "retained":
      return judgeRetained(volume, facts);
  }
};

const resolved = (origin: Origin): OriginVerdict => ({ kind: "resolved", origin });

const unusable = (kind: Violation["kind"], reason: string, message: string): OriginVerdict => ({
  kind: "unusable",
  violation: { kind, reason, message },
});

const judgeImageOrigin = (
  volume: Volume,
  { reference, image, reports }: Extract<OriginFacts, { kind: "image" }>,
): OriginVerdict => {
  if (image === undefined) return unusable("missing", "ImageNotFound", imageNotFoundMessage(reference));
  const title = `Image ${image.metadata.name}`;
  const verdict = judgeImage(image, reports);
  if (verdict.kind === "invalid")
    return unusable(
      "lasting",
      "ImageInvalid",
      `${title}: ${sentence(verdict.message)} Make a Volume of another image.`,
    );
  if (verdict.kind === "refused" && !isLocalRefusal(image, verdict.reason))
    return unusable(
      "lasting",
      verdict.reason,
      `${title} was refused by node ${verdict.by.node}: ${sentence(verdict.by.image.message ?? verdict.reason)} Make a Volume of another image.`,
    );
  const sizeBytes = virtualSizeOf(verdict);
  const tooSmall = sizeBytes === undefined ? undefined : judgeSize(volume, title, Math.ceil(sizeBytes / MIB));
  if (tooSmall !== undefined) return tooSmall;
  const allocated = allocateImage(image);
  return allocated === undefined
    ? unusable("missing", "ImageNotReady", `${title} is still being made; its status says how far that is.`)
    : resolved({ allocation: { image: allocated } });
};

const judgeDiskOrigin = (volume: Volume, facts: SourceFacts): OriginVerdict => {
  const verdict = judgeSource(facts);
  if (verdict.kind === "unusable") return unusable("missing", verdict.reason, verdict.message);
  const { disk, nodeName, sharedPool, sizeMiB } = verdict.found;
  const tooSmall = judgeSize(volume, "Its source", sizeMiB);
  if (tooSmall !== undefined) return tooSmall;
  return resolved({
    allocation: { source: disk },
    nodeName,
    ...(sharedPool !== undefined && { sharedPool }),
  });
};

const judgeRetained = (
  volume: Volume,
  { uid, found, takenBy }: Extract<OriginFacts, { kind: "retained" }>,
): OriginVerdict => {
  const { namespace } = volume.metadata;
  // Whoever is in another namespace is told the same as when there is none.
  if (found === undefined || found.volume.namespace !== namespace)
    return unusable(
      "missing",
      "RetainedNotFound",
      `No node keeps data of a deleted Volume of namespace ${namespace} with uid ${uid}.`,
    );
  if (takenBy !== undefined)
    return unusable(
      "lasting",
      "RetainedTaken",
      `The data of ${uid} are for Volume ${takenBy}, which names them too.`,
    );
  const { pool, sizeMiB } = found.volume;
  if (pool !== volume.spec.pool)
    return unusable(
      "lasting",
      "PoolMismatch",
      `The data are in storage pool ${pool}, not in ${volume.spec.pool}. Make a Volume with pool ${pool}.`,
    );
  const tooSmall = judgeSize(volume, "The retained disk", sizeMiB);
  if (tooSmall !== undefined) return tooSmall;
  return resolved({
    allocation: { retainedUid: uid },
    nodeName: found.nodeName,
    ...(found.isShared && { sharedPool: pool }),
  });
};

const MIB = 2 ** 20;

/** Nothing is cut off: a Volume is at least as large as what it starts as. */
const judgeSize = ({ spec }: Volume, what: string, neededMiB: number): OriginVerdict | undefined =>
  parseQuantity(spec.size) >= neededMiB * MIB
    ? undefined
    : unusable(
        "lasting",
        "TooSmall",
        `${what} has ${neededMiB} MiB, and spec.size is ${spec.size}. Make it at least ${neededMiB}Mi.`,
      );
