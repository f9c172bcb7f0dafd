import { parseQuantity } from "../../api/quantity.ts";
import { virtualSizeOf } from "../image/judge.ts";
import { imageOf, type JudgedImage, sourceOf } from "./image-checks.ts";
import type { UnplacedFacts } from "./observe.ts";
import { judgeSize, type MachineSize } from "./size.ts";
import { lasting, missing, type Violation } from "./violation.ts";

/** The machine's size, and what its image needs. */

type Facts = Pick<UnplacedFacts, "machine" | "image" | "imageReports" | "source" | "flavor">;

const MIB = 2 ** 20;

const verdictOf = ({ machine, flavor }: Facts) =>
  judgeSize(machine.spec, flavor, machine.status?.allocation?.flavor);

const sizeOf = (facts: Facts): MachineSize | undefined => {
  const verdict = verdictOf(facts);
  return verdict.kind === "valid" ? verdict.size : undefined;
};

export const flavorExists = (facts: Facts): Violation | undefined =>
  verdictOf(facts).kind === "missing"
    ? missing(
        "FlavorNotFound",
        `Flavor ${facts.machine.spec.flavor} does not exist. Make it; flavors are cluster-wide.`,
      )
    : undefined;

export const sizeIsValid = (facts: Facts): Violation | undefined => {
  const verdict = verdictOf(facts);
  return verdict.kind === "invalid" ? lasting(verdict.reason, verdict.message) : undefined;
};

export const diskIsAsLargeAsTheImageAsks = (facts: Facts): Violation | undefined =>
  fallsShort(facts, disk, ({ image }) => quantityOrNone(image.spec.minimumDisk));

export const memoryIsAsLargeAsTheImageAsks = (facts: Facts): Violation | undefined =>
  fallsShort(facts, memory, ({ image }) => quantityOrNone(image.spec.minimumMemory));

/** Known once a node has fetched the image. */
export const diskHoldsTheImage = (facts: Facts): Violation | undefined =>
  fallsShort(facts, disk, ({ verdict }) => virtualSizeOf(verdict));

export const diskHoldsTheSource = (facts: Facts): Violation | undefined => {
  const verdict = sourceOf(facts);
  const size = sizeOf(facts);
  if (verdict?.kind !== "found" || size === undefined || size.diskMiB >= verdict.found.sizeMiB)
    return undefined;
  return tooSmall(facts, disk, size, `the disk that it is a copy of has ${verdict.found.sizeMiB} MiB`);
};

interface Aspect {
  readonly reason: string;
  readonly field: "disk" | "memory";
  readonly noun: string;
  readonly of: (size: MachineSize) => number;
}

const disk: Aspect = {
  reason: "DiskTooSmall",
  field: "disk",
  noun: "a root disk",
  of: ({ diskMiB }) => diskMiB,
};
const memory: Aspect = {
  reason: "MemoryTooSmall",
  field: "memory",
  noun: "memory",
  of: ({ memoryMiB }) => memoryMiB,
};

/** Is the machine's memory or disk less than the image needs? Images that are invalid need nothing: that is said elsewhere. */
const fallsShort = (
  facts: Facts,
  aspect: Aspect,
  neededBytes: (image: JudgedImage) => number | undefined,
): Violation | undefined => {
  const found = imageOf(facts);
  const size = sizeOf(facts);
  if (found === undefined || found.verdict.kind === "invalid" || size === undefined) return undefined;
  const needed = neededBytes(found);
  if (needed === undefined || aspect.of(size) * MIB >= needed) return undefined;
  const needs = `Image ${found.image.metadata.name} needs ${Math.ceil(needed / MIB)} MiB`;
  return tooSmall(facts, aspect, size, needs);
};

const tooSmall = (
  { machine }: Facts,
  { reason, field, noun, of }: Aspect,
  size: MachineSize,
  needs: string,
): Violation => {
  const isInline = machine.spec[field] !== undefined;
  const subject = isInline ? "The machine" : `Flavor ${machine.spec.flavor}`;
  const remedy = isInline ? `Set spec.${field} to more.` : `Choose a larger flavor, or set spec.${field}.`;
  return lasting(reason, `${subject} has ${noun} of ${of(size)} MiB, and ${needs}. ${remedy}`);
};

const quantityOrNone = (quantity: string | undefined): number | undefined =>
  quantity === undefined ? undefined : parseQuantity(quantity);
