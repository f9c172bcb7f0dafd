import type { Image } from "../../api/image.ts";
import { sentence } from "../conditions.ts";
import { judgeSource, type SourceVerdict } from "../disk-source/judge.ts";
import { allocateImage } from "../image/allocate.ts";
import { type ImageVerdict, isLocalRefusal, judgeImage, type NodeReport } from "../image/judge.ts";
import { imageNotFoundMessage } from "../image/visible.ts";
import type { UnplacedFacts } from "./observe.ts";
import { lasting, missing, passing, type Violation } from "./violation.ts";

/** What a root disk starts as: an image, or a disk. */

export type ImageFacts = Pick<UnplacedFacts, "machine" | "image" | "imageReports" | "source">;

export interface JudgedImage {
  readonly image: Image;
  readonly verdict: ImageVerdict;
}

export const imageOf = ({ image, imageReports }: ImageFacts): JudgedImage | undefined =>
  image === undefined ? undefined : { image, verdict: judgeImage(image, imageReports) };

export const sourceOf = ({ source }: ImageFacts): SourceVerdict | undefined =>
  source === undefined ? undefined : judgeSource(source);

export const imageExists = ({ machine, image }: ImageFacts): Violation | undefined => {
  const { image: name, imageNamespace } = machine.spec;
  if (image !== undefined || name === undefined) return undefined;
  const userNamespace = machine.metadata.namespace ?? "";
  return missing("ImageNotFound", imageNotFoundMessage({ name, imageNamespace, userNamespace }));
};

export const imageIsValid = (facts: ImageFacts): Violation | undefined => {
  const found = imageOf(facts);
  return found && invalidity(found, ANOTHER_MACHINE);
};

export const imageIsNotRefused = (facts: ImageFacts): Violation | undefined => {
  const found = imageOf(facts);
  return found && refusal(found, ANOTHER_MACHINE);
};

/** Other nodes fetch it from the one that makes it, and check what they get: its checksum has to be known. */
export const imageIsMade = (facts: ImageFacts): Violation | undefined => {
  const found = imageOf(facts);
  if (found === undefined || found.verdict.kind === "refused" || allocateImage(found.image) !== undefined)
    return undefined;
  return missing(
    "ImageNotReady",
    `Image ${found.image.metadata.name} has not been made yet; its status says why.`,
  );
};

export const sourceIsUsable = (facts: ImageFacts): Violation | undefined => {
  const verdict = sourceOf(facts);
  if (verdict?.kind !== "unusable") return undefined;
  const { reason, message } = verdict;
  return (reason === "SourceOnLostNode" ? passing : missing)(reason, message);
};

const ANOTHER_MACHINE = "Make a machine with another image.";
const ANOTHER_NAME = "Name another image.";

/** A problem of an image that is known from its spec. */
const invalidity = ({ image, verdict }: JudgedImage, remedy: string): Violation | undefined =>
  verdict.kind === "invalid"
    ? lasting("ImageInvalid", `Image ${image.metadata.name}: ${sentence(verdict.message)} ${remedy}`)
    : undefined;

/** A problem of an image that a node has found. */
const refusal = ({ image, verdict }: JudgedImage, remedy: string): Violation | undefined => {
  if (verdict.kind !== "refused" || isLocalRefusal(image, verdict.reason)) return undefined;
  const { by, reason } = verdict;
  return lasting(
    reason,
    `Image ${image.metadata.name} was refused by node ${by.node}: ${sentence(by.image.message ?? reason)} ${remedy}`,
  );
};

/** What keeps an image from being a CD-ROM. */
export const cdromProblem = (
  name: string,
  namespace: string,
  image: Image | undefined,
  reports: readonly NodeReport[],
): Violation | undefined => {
  if (image === undefined)
    return missing(
      "CdromNotFound",
      `spec.cdroms: ${imageNotFoundMessage({ name, userNamespace: namespace })}`,
    );
  if (image.spec.format !== "raw")
    return lasting(
      "CdromFormat",
      `spec.cdroms: Image ${name} has format ${image.spec.format}, and a CD-ROM is an image of format raw. ${ANOTHER_NAME}`,
    );
  const judged = { image, verdict: judgeImage(image, reports) };
  const problem = invalidity(judged, ANOTHER_NAME) ?? refusal(judged, ANOTHER_NAME);
  return problem && { ...problem, message: `spec.cdroms: ${problem.message}` };
};
