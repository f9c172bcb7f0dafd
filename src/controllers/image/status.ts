import type { Image } from "../../api/image.ts";
import { type Draft, notReady, observed, ready, sentence, stalled } from "../conditions.ts";
import type { Making } from "./making.ts";
import { firstOf, type ImageVerdict, type NodeReport } from "./judge.ts";

export type ImageStatus = NonNullable<Image["status"]>;

/** Refusals that a message quotes; the rest is counted. */
const MAX_QUOTED_REFUSALS = 8;

/**
 * The whole status of an Image. The same facts give the same status, whatever the order of the reports.
 *
 * @param making of an image that is made of a disk
 */
export const imageStatus = (
  image: Image,
  verdict: ImageVerdict,
  making: Making | undefined,
  now: Date,
): ImageStatus => ({
  ...observed(image, making?.drafts ?? conditionDrafts(verdict), now),
  ...(verdict.kind === "cached" && cacheFields(verdict.holders)),
  ...(making !== undefined && { origin: making.origin, checksum: making.checksum }),
});

const conditionDrafts = (verdict: ImageVerdict): readonly Draft[] => {
  switch (verdict.kind) {
    case "invalid":
      return stalled("Invalid", `${sentence(verdict.message)} Make another Image.`);
    case "untried":
      return ready("Valid", "Machines may use it; a node fetches it when its first machine needs it.");
    case "cached":
      return ready("Cached", cachedMessage(verdict.holders, verdict.refusals));
    case "refused":
      return stalled(verdict.reason, `${refusedBy(verdict.by)} Make another Image.`);
    case "failing":
      return notReady(
        verdict.by.image.reason ?? "FetchFailed",
        `Node ${verdict.by.node} could not get it and tries again: ${saidBy(verdict.by)}`,
      );
  }
};

const saidBy = ({ image }: NodeReport): string =>
  sentence(image.message ?? image.reason ?? "no reason given");

const refusedBy = (report: NodeReport): string => `Node ${report.node} refused it: ${saidBy(report)}`;

const cachedMessage = (holders: readonly NodeReport[], refusals: readonly NodeReport[]): string => {
  const contents = new Set(holders.map((holder) => holder.image.checksum).filter((sum) => sum !== undefined));
  const unquoted = refusals.length - MAX_QUOTED_REFUSALS;
  return [
    holders.length === 1 ? "1 node holds it." : `${holders.length} nodes hold it.`,
    ...(contents.size > 1
      ? ["Their contents differ, since the source changed between two downloads: give a checksum."]
      : []),
    ...refusals.slice(0, MAX_QUOTED_REFUSALS).map(refusedBy),
    ...(unquoted > 0 ? [`${unquoted} more refused it.`] : []),
  ].join(" ");
};

const cacheFields = (holders: readonly NodeReport[]): Partial<ImageStatus> => {
  const sizeBytes = firstOf(holders, "sizeBytes");
  const virtualSizeBytes = firstOf(holders, "virtualSizeBytes");
  const checksum = firstOf(holders, "checksum");
  return {
    nodes: holders.map((holder) => holder.node),
    ...(sizeBytes !== undefined && { sizeBytes }),
    ...(virtualSizeBytes !== undefined && { virtualSizeBytes }),
    ...(checksum !== undefined && { checksum }),
  };
};
