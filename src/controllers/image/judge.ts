import type { CachedImageStatus } from "../../api/hypervisor.ts";
import { type Image, type ImageRefusal, imageRefusals } from "../../api/image.ts";
import { bytesOf } from "../quantities.ts";

/** What one node says of an image. */
export interface NodeReport {
  readonly node: string;
  readonly image: CachedImageStatus;
}

/** What can be said of an image, from its spec and from what nodes report. */
export type ImageVerdict =
  /** Its spec cannot be followed by any node. */
  | { readonly kind: "invalid"; readonly message: string }
  /** Nobody needed it yet, or its first node is fetching it. */
  | { readonly kind: "untried" }
  | {
      readonly kind: "cached";
      readonly holders: readonly NodeReport[];
      readonly refusals: readonly NodeReport[];
    }
  /** No node has it, and one says that it never will. */
  | { readonly kind: "refused"; readonly by: NodeReport; readonly reason: ImageRefusal }
  /** No node has it; one has failed to get it and goes on trying. */
  | { readonly kind: "failing"; readonly by: NodeReport };

/** Has the node said that only another Image can help? */
export const isPermanentRefusal = (image: CachedImageStatus): boolean => refusalOf(image) !== undefined;

const refusalOf = ({ state, reason }: CachedImageStatus): ImageRefusal | undefined =>
  state === "Failed" ? imageRefusals.find((refusal) => refusal === reason) : undefined;

/** Refusals that follow from how one node is set up rather than from what the image is. */
const setUpRefusals: ReadonlySet<ImageRefusal> = new Set(["AddressRefused", "TooLarge"]);

/**
 * May another node think otherwise? The others are then worth a try: a file may
 * lie in the import directory of some nodes only, and what a node may fetch is
 * for its administrator to say.
 */
export const isLocalRefusal = (image: Image, reason: ImageRefusal): boolean =>
  setUpRefusals.has(reason) || (reason === "NotFound" && image.spec.source.file !== undefined);

/** Puts the reports of all nodes together. A node that holds the image outweighs any that refuse it. */
export const judgeImage = (image: Image, reports: readonly NodeReport[]): ImageVerdict => {
  const problem = specProblem(image);
  if (problem !== undefined) return { kind: "invalid", message: problem };
  const sorted = reports.toSorted((a, b) => (a.node < b.node ? -1 : 1));
  const holders = sorted.filter((report) => report.image.state === "Ready");
  const refusals = sorted.filter((report) => isPermanentRefusal(report.image));
  if (holders.length > 0) return { kind: "cached", holders, refusals };
  for (const by of refusals) {
    const reason = refusalOf(by.image);
    if (reason !== undefined) return { kind: "refused", by, reason };
  }
  const failing = sorted.find((report) => report.image.state === "Failed");
  return failing === undefined ? { kind: "untried" } : { kind: "failing", by: failing };
};

/** What the API server's schema lets through and no node can follow. */
const specProblem = ({ spec }: Image): string | undefined => {
  const { source, minimumDisk, minimumMemory } = spec;
  if (source.url !== undefined && !URL.canParse(source.url))
    return `spec.source.url is not a URL: ${source.url}`;
  try {
    if (minimumDisk !== undefined) bytesOf("spec.minimumDisk", minimumDisk);
    if (minimumMemory !== undefined) bytesOf("spec.minimumMemory", minimumMemory);
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
};

/** Bytes of the disk that a guest sees, as the first node found out; undefined until one did. */
export const virtualSizeOf = (verdict: ImageVerdict): number | undefined =>
  verdict.kind === "cached" ? firstOf(verdict.holders, "virtualSizeBytes") : undefined;

/** Is it made out of a disk of the cluster, rather than fetched? */
export const isMadeOfDisk = ({ spec: { source } }: Image): boolean =>
  source.url === undefined && source.file === undefined;

/** The first report that has the field. */
export const firstOf = <F extends "sizeBytes" | "virtualSizeBytes" | "checksum">(
  reports: readonly NodeReport[],
  field: F,
): CachedImageStatus[F] | undefined =>
  reports.find((report) => report.image[field] !== undefined)?.image[field];
