import type { Image } from "../../api/image.ts";
import { contains, parseAddress } from "../../api/ipv4.ts";
import { parseQuantity } from "../../api/quantity.ts";
import { DEFAULT_GROUP } from "../../api/security-group.ts";
import { sentence } from "../conditions.ts";
import { flavorSizes } from "../flavor/sizes.ts";
import { type ImageVerdict, isLocalRefusal, judgeImage, virtualSizeOf } from "../image/judge.ts";
import { addressPool } from "../ipam/pool.ts";
import { judgeKeyPair } from "../key-pair/judge.ts";
import { judgeNetwork, numberOf } from "../network/judge.ts";
import type { NetworkUse, UnplacedFacts } from "./observe.ts";

/** Why a machine cannot be placed yet. */
export interface Violation {
  /** One CamelCase word for the condition's reason. */
  readonly reason: string;
  /** Which object, what is wrong with it, and what to do. */
  readonly message: string;
  /** missing: an object that may come any moment. lasting: only a person can help. passing: it may pass by itself. */
  readonly kind: "missing" | "passing" | "lasting";
}

/** Conditions that must be True before a machine is placed, in the order of the status. */
export const prerequisites = [
  "ImageReady",
  "FlavorReady",
  "KeyPairsReady",
  "NetworkReady",
  "SecurityGroupsReady",
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

const imageExists: Find = ({ machine, image }) =>
  image !== undefined
    ? undefined
    : missing(
        "ImageNotFound",
        `Image ${machine.spec.image} does not exist in namespace ${machine.metadata.namespace}. Make it there.`,
      );

const imageIsValid: Find = (facts) => {
  const found = imageOf(facts);
  if (found?.verdict.kind !== "invalid") return undefined;
  return lasting(
    "ImageInvalid",
    `Image ${found.image.metadata.name}: ${sentence(found.verdict.message)} Make a machine with another image.`,
  );
};

const imageIsNotRefused: Find = (facts) => {
  const found = imageOf(facts);
  if (found?.verdict.kind !== "refused" || isLocalRefusal(found.image, found.verdict.reason))
    return undefined;
  const { by, reason } = found.verdict;
  return lasting(
    reason,
    `Image ${found.image.metadata.name} was refused by node ${by.node}: ${sentence(by.image.message ?? reason)} Make a machine with another image.`,
  );
};

const flavorExists: Find = ({ machine, flavor }) =>
  flavor !== undefined
    ? undefined
    : missing(
        "FlavorNotFound",
        `Flavor ${machine.spec.flavor} does not exist. Make it; flavors are cluster-wide.`,
      );

const flavorIsValid: Find = ({ flavor }) => {
  const sizes = flavor === undefined ? undefined : flavorSizes(flavor);
  if (flavor === undefined || sizes?.kind !== "invalid") return undefined;
  return lasting(
    "FlavorInvalid",
    `Flavor ${flavor.metadata.name}: ${sentence(sizes.message)} Make a machine with another flavor.`,
  );
};

const flavorHasTheDiskThatTheImageAsksFor: Find = (facts) =>
  flavorFallsShort(facts, "disk", "DiskTooSmall", ({ image }) => quantityOrNone(image.spec.minimumDisk));

const flavorHasTheMemoryThatTheImageAsksFor: Find = (facts) =>
  flavorFallsShort(facts, "memory", "MemoryTooSmall", ({ image }) =>
    quantityOrNone(image.spec.minimumMemory),
  );

/** Known once a node has fetched the image. */
const flavorDiskHoldsTheImage: Find = (facts) =>
  flavorFallsShort(facts, "disk", "DiskTooSmall", ({ verdict }) => virtualSizeOf(verdict));

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

const networksExist: Find = ({ networks }) => {
  const absent = networks.find(({ network }) => network === undefined);
  if (absent === undefined) return undefined;
  return missing(
    "NetworkNotFound",
    `Network ${absent.name} does not exist. Make it; networks are cluster-wide.`,
  );
};

const networksAreUsable: Find = ({ networks, allNetworks }) => {
  for (const { name, network } of networks) {
    const verdict = network === undefined ? undefined : judgeNetwork(network, allNetworks);
    if (verdict?.kind === "unusable") return lasting(verdict.reason, `Network ${name}: ${verdict.message}`);
  }
  return undefined;
};

/** The Network's controller gives it one at once, unless something is wrong. */
const networksHaveNumbers: Find = ({ networks, allNetworks }) => {
  const waiting = networks.find(
    ({ network }) => network !== undefined && numberOf(network, allNetworks) === undefined,
  );
  if (waiting === undefined) return undefined;
  return missing("NetworkNotReady", `Network ${waiting.name} has no number yet; its status says why.`);
};

const allowedAddressesAreOfTheNetwork: Find = ({ networks }) => {
  for (const use of networks) {
    const problem = use.allowedAddresses
      .map((address) => addressProblem(use, address))
      .find((found) => found !== undefined);
    if (problem !== undefined)
      return lasting("InvalidAllowedAddress", `${problem} Make a machine with other allowedAddresses.`);
  }
  return undefined;
};

const addressProblem = ({ name, network }: NetworkUse, text: string): string | undefined => {
  if (network === undefined) return undefined;
  const { block, gateway } = addressPool(network.spec);
  const address = parseAddress(text);
  if (!contains(block, address))
    return `spec.networks: allowed address ${text} is not in ${network.spec.cidr} of Network ${name}.`;
  const roles = [
    [gateway, "gateway"],
    [block.first, "network address"],
    [block.last, "broadcast address"],
  ] as const;
  const role = roles.find(([special]) => special === address)?.[1];
  return role && `spec.networks: allowed address ${text} is the ${role} of Network ${name}.`;
};

const allowedAddressesAreNobodysOwn: Find = ({ networks }) => {
  for (const { name, takenAddresses } of networks) {
    const [taken] = takenAddresses;
    if (taken !== undefined)
      return passing(
        "AllowedAddressTaken",
        `spec.networks: allowed address ${taken} of Network ${name} was given to another machine. Delete that one, or make a machine with an address that is reserved in the Network (spec.reservedAddresses).`,
      );
  }
  return undefined;
};

const networksHaveFreeAddresses: Find = ({ networks }) => {
  const full = networks.find(
    ({ network, freeAddress }) => network !== undefined && freeAddress === undefined,
  );
  if (full?.network === undefined) return undefined;
  const { capacity } = addressPool(full.network.spec);
  return passing(
    "AddressesExhausted",
    `Network ${full.name} has no free address: all ${capacity} are given out. Delete machines that are not needed, or make a machine in another network.`,
  );
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

/**
 * The checklist, in the order in which a person would go through it. Permission
 * to use an image or a network of somebody else, and quotas, are more lines here.
 */
export const checks: readonly Check[] = [
  { condition: "ImageReady", find: imageExists },
  { condition: "ImageReady", find: imageIsValid },
  { condition: "ImageReady", find: imageIsNotRefused },
  { condition: "FlavorReady", find: flavorExists },
  { condition: "FlavorReady", find: flavorIsValid },
  { condition: "FlavorReady", find: flavorHasTheDiskThatTheImageAsksFor },
  { condition: "FlavorReady", find: flavorHasTheMemoryThatTheImageAsksFor },
  { condition: "FlavorReady", find: flavorDiskHoldsTheImage },
  { condition: "KeyPairsReady", find: keyPairsExist },
  { condition: "KeyPairsReady", find: keyPairsHaveKeys },
  { condition: "NetworkReady", find: networksExist },
  { condition: "NetworkReady", find: networksAreUsable },
  { condition: "NetworkReady", find: networksHaveNumbers },
  { condition: "NetworkReady", find: allowedAddressesAreOfTheNetwork },
  { condition: "NetworkReady", find: allowedAddressesAreNobodysOwn },
  { condition: "NetworkReady", find: networksHaveFreeAddresses },
  { condition: "SecurityGroupsReady", find: securityGroupsExist },
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

const missing = (reason: string, message: string): Violation => ({ kind: "missing", reason, message });
const passing = (reason: string, message: string): Violation => ({ kind: "passing", reason, message });
const lasting = (reason: string, message: string): Violation => ({ kind: "lasting", reason, message });

interface JudgedImage {
  readonly image: Image;
  readonly verdict: ImageVerdict;
}

const imageOf = ({ image, imageReports }: UnplacedFacts): JudgedImage | undefined =>
  image === undefined ? undefined : { image, verdict: judgeImage(image, imageReports) };

const MIB = 2 ** 20;

/** Is the flavor's memory or disk less than the image needs? Images that are invalid need nothing: that is said elsewhere. */
const flavorFallsShort = (
  facts: UnplacedFacts,
  field: "memory" | "disk",
  reason: string,
  neededBytes: (image: JudgedImage) => number | undefined,
): Violation | undefined => {
  const found = imageOf(facts);
  if (found === undefined || found.verdict.kind === "invalid" || facts.flavor === undefined) return undefined;
  const sizes = flavorSizes(facts.flavor);
  const needed = neededBytes(found);
  if (sizes.kind === "invalid" || needed === undefined) return undefined;
  const offered = field === "disk" ? sizes.diskMiB : sizes.memoryMiB;
  if (offered * MIB >= needed) return undefined;
  const what = field === "disk" ? "a root disk" : "memory";
  return lasting(
    reason,
    `Flavor ${facts.flavor.metadata.name} has ${what} of ${offered} MiB, and Image ${found.image.metadata.name} needs ${Math.ceil(needed / MIB)} MiB. Make a machine with a larger flavor.`,
  );
};

const quantityOrNone = (quantity: string | undefined): number | undefined =>
  quantity === undefined ? undefined : parseQuantity(quantity);
