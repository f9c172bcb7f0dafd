import { DEFAULT_GROUP } from "../../api/security-group.ts";
import { sentence } from "../conditions.ts";
import { judgeKeyPair } from "../key-pair/judge.ts";
import { imageExists, imageIsMade, imageIsNotRefused, imageIsValid, sourceIsUsable } from "./image-checks.ts";
import {
  addressesAreFree,
  addressesAreOfTheNetwork,
  allowedAddressesAreNobodysOwn,
  allowedAddressesAreOfTheNetwork,
  networksAreUsable,
  networksExist,
  networksHaveFreeAddresses,
  networksHaveNumbers,
} from "./network-checks.ts";
import type { UnplacedFacts } from "./observe.ts";
import {
  diskHoldsTheImage,
  diskHoldsTheSource,
  diskIsAsLargeAsTheImageAsks,
  flavorExists,
  memoryIsAsLargeAsTheImageAsks,
  sizeIsValid,
} from "./size-checks.ts";
import { lasting, missing, type Violation } from "./violation.ts";
import { cdromsAreUsable, volumesAreOnOneNode, volumesAreTheMachines } from "./volume-checks.ts";

/** Conditions that must be True before a machine is placed, in the order of the status. */
export const prerequisites = [
  "ImageReady",
  "FlavorReady",
  "KeyPairsReady",
  "NetworkReady",
  "SecurityGroupsReady",
  "VolumesReady",
] as const;
export type Prerequisite = (typeof prerequisites)[number];

/** One reason not to place a machine. */
export interface Check {
  /** The condition that is False when the check finds something. */
  readonly condition: Prerequisite;
  /** What is wrong, or undefined. A check says nothing of objects that are not there: an earlier one did. */
  readonly find: (facts: UnplacedFacts) => Violation | undefined;
}

type Find = Check["find"];

const keyPairsExist: Find = ({ machine, keyPairs }) => {
  const absent = keyPairs.filter(({ keyPair }) => keyPair === undefined).map(({ name }) => name);
  if (absent.length === 0) return undefined;
  const subject = absent.length === 1 ? `KeyPair ${absent[0]} does` : `KeyPairs ${absent.join(", ")} do`;
  const remedy = absent.length === 1 ? "Make it there." : "Make them there.";
  return missing(
    "KeyPairNotFound",
    `${subject} not exist in namespace ${machine.metadata.namespace}. ${remedy}`,
  );
};

const keyPairsHaveKeys: Find = ({ keyPairs }) => {
  for (const { name, keyPair } of keyPairs) {
    const verdict = keyPair === undefined ? undefined : judgeKeyPair(keyPair);
    if (verdict?.kind === "invalid")
      return lasting(
        "KeyPairInvalid",
        `KeyPair ${name}: ${sentence(verdict.message)} Make a machine with another key pair.`,
      );
    if (verdict?.kind === "missing")
      return missing("KeyPairNotReady", `KeyPair ${name} has no key yet; its status says why.`);
  }
  return undefined;
};

/** The group default is not asked for: its controller makes it where it is missing. */
export const securityGroupsExist = ({
  machine,
  securityGroups,
}: Pick<UnplacedFacts, "machine" | "securityGroups">): Violation | undefined => {
  const absent = securityGroups
    .filter(({ name, group }) => group === undefined && name !== DEFAULT_GROUP)
    .map(({ name }) => name);
  if (absent.length === 0) return undefined;
  const subject =
    absent.length === 1 ? `SecurityGroup ${absent[0]} does` : `SecurityGroups ${absent.join(", ")} do`;
  return missing(
    "SecurityGroupNotFound",
    `${subject} not exist in namespace ${machine.metadata.namespace}. Make ${absent.length === 1 ? "it" : "them"} there, or take the name out of spec.securityGroups.`,
  );
};

/** The checklist, in the order in which a person would go through it. Quotas are more lines here. */
export const checks: readonly Check[] = [
  { condition: "ImageReady", find: imageExists },
  { condition: "ImageReady", find: imageIsValid },
  { condition: "ImageReady", find: imageIsNotRefused },
  { condition: "ImageReady", find: imageIsMade },
  { condition: "ImageReady", find: sourceIsUsable },
  { condition: "ImageReady", find: cdromsAreUsable },
  { condition: "FlavorReady", find: flavorExists },
  { condition: "FlavorReady", find: sizeIsValid },
  { condition: "FlavorReady", find: diskIsAsLargeAsTheImageAsks },
  { condition: "FlavorReady", find: memoryIsAsLargeAsTheImageAsks },
  { condition: "FlavorReady", find: diskHoldsTheImage },
  { condition: "FlavorReady", find: diskHoldsTheSource },
  { condition: "KeyPairsReady", find: keyPairsExist },
  { condition: "KeyPairsReady", find: keyPairsHaveKeys },
  { condition: "NetworkReady", find: networksExist },
  { condition: "NetworkReady", find: networksAreUsable },
  { condition: "NetworkReady", find: networksHaveNumbers },
  { condition: "NetworkReady", find: addressesAreOfTheNetwork },
  { condition: "NetworkReady", find: allowedAddressesAreOfTheNetwork },
  { condition: "NetworkReady", find: allowedAddressesAreNobodysOwn },
  { condition: "NetworkReady", find: addressesAreFree },
  { condition: "NetworkReady", find: networksHaveFreeAddresses },
  { condition: "SecurityGroupsReady", find: securityGroupsExist },
  { condition: "VolumesReady", find: volumesAreTheMachines },
  { condition: "VolumesReady", find: volumesAreOnOneNode },
];

/** The first violation of each prerequisite that has one. */
export const findViolations = (facts: UnplacedFacts): ReadonlyMap<Prerequisite, Violation> => {
  const violations = new Map<Prerequisite, Violation>();
  for (const { condition, find } of checks) {
    if (violations.has(condition)) continue;
    const violation = find(facts);
    if (violation !== undefined) violations.set(condition, violation);
  }
  return violations;
};
