import type { Image } from "../../api/image.ts";
import { judgeSource } from "../disk-source/judge.ts";
import { type Draft, notReady, stalled } from "../conditions.ts";
import { isLost } from "../hypervisor/status.ts";
import { isMadeOfDisk, judgeImage } from "./judge.ts";
import type { ImageFacts } from "./observe.ts";

/** Pure: how far an image is that is made out of a disk of the cluster. */

type Origin = NonNullable<NonNullable<Image["status"]>["origin"]>;

export interface Making {
  /** Which node makes it of which disk: chosen once. */
  readonly origin: Origin | undefined;
  /** What its node says it has made, for good: the other nodes check what they fetch against it. */
  readonly checksum: string | undefined;
  /** What is to be said while machines cannot use it; undefined when they can, or when nodes tell why not. */
  readonly drafts: readonly Draft[] | undefined;
}

/** Undefined for an image that nodes fetch from elsewhere. */
export const judgeMaking = (facts: ImageFacts): Making | undefined => {
  const { image, reports, source } = facts;
  if (!isMadeOfDisk(image)) return undefined;
  const stored = image.status?.origin;
  if (stored === undefined) {
    const verdict = source && judgeSource(source);
    if (verdict?.kind !== "found")
      return {
        origin: undefined,
        checksum: undefined,
        drafts: verdict && notReady(verdict.reason, verdict.message),
      };
    const { nodeName, disk } = verdict.found;
    return { origin: { nodeName, disk }, checksum: undefined, drafts: makingDrafts(nodeName) };
  }
  const made = reports.find(({ node, image: { state } }) => node === stored.nodeName && state === "Ready");
  const checksum = image.status?.checksum ?? made?.image.checksum;
  return { origin: stored, checksum, drafts: draftsOf(facts, stored, checksum) };
};

const makingDrafts = (nodeName: string): readonly Draft[] =>
  notReady("Making", `Node ${nodeName} makes it out of the disk.`);

const draftsOf = (
  { image, reports, maker }: ImageFacts,
  { nodeName }: Origin,
  checksum: string | undefined,
): readonly Draft[] | undefined => {
  const { kind } = judgeImage(image, reports);
  if (kind === "invalid" || kind === "refused" || kind === "failing") return undefined;
  if (checksum !== undefined)
    return kind === "cached" ? undefined : notReady("NotHeld", "No node says that it holds it.");
  if (maker === undefined)
    return stalled(
      "MakerRemoved",
      `Node ${nodeName}, which was to make it, does not exist any more. Make another Image.`,
    );
  return isLost(maker)
    ? notReady("MakerLost", `Node ${nodeName}, which makes it, gives no sign of life.`)
    : makingDrafts(nodeName);
};
