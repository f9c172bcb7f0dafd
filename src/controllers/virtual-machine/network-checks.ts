import { contains, parseAddress } from "../../api/ipv4.ts";
import { addressPool } from "../ipam/pool.ts";
import { judgeNetwork, numberOf } from "../network/judge.ts";
import type { NetworkUse, UnplacedFacts } from "./observe.ts";
import { lasting, missing, passing, type Violation } from "./violation.ts";

/** The networks, and addresses in them. */

type Facts = Pick<UnplacedFacts, "networks" | "allNetworks">;

export const networksExist = ({ networks }: Facts): Violation | undefined => {
  const absent = networks.find(({ network }) => network === undefined);
  if (absent === undefined) return undefined;
  return missing(
    "NetworkNotFound",
    `Network ${absent.name} does not exist. Make it; networks are cluster-wide.`,
  );
};

export const networksAreUsable = ({ networks, allNetworks }: Facts): Violation | undefined => {
  for (const { name, network } of networks) {
    const verdict = network === undefined ? undefined : judgeNetwork(network, allNetworks);
    if (verdict?.kind === "unusable") return lasting(verdict.reason, `Network ${name}: ${verdict.message}`);
  }
  return undefined;
};

/** The Network's controller gives it one at once, unless something is wrong. */
export const networksHaveNumbers = ({ networks, allNetworks }: Facts): Violation | undefined => {
  const waiting = networks.find(
    ({ network }) => network !== undefined && numberOf(network, allNetworks) === undefined,
  );
  if (waiting === undefined) return undefined;
  return missing("NetworkNotReady", `Network ${waiting.name} has no number yet; its status says why.`);
};

export const addressesAreOfTheNetwork = ({ networks }: Facts): Violation | undefined => {
  for (const use of networks) {
    if (use.wantedAddress === undefined) continue;
    const problem = addressProblem(use, "address", use.wantedAddress) ?? reservedProblem(use);
    if (problem !== undefined)
      return lasting("InvalidAddress", `${problem} Make a machine with another address.`);
  }
  return undefined;
};

/** A reserved address is for a router, or for machines to share. */
const reservedProblem = ({ name, network, wantedAddress }: NetworkUse): string | undefined => {
  if (network === undefined || wantedAddress === undefined) return undefined;
  return addressPool(network.spec).excluded.has(parseAddress(wantedAddress))
    ? `spec.networks: address ${wantedAddress} is reserved in Network ${name} (spec.reservedAddresses).`
    : undefined;
};

export const addressesAreFree = ({ networks }: Facts): Violation | undefined => {
  const taken = networks.find(
    ({ network, wantedAddress, freeAddress }) =>
      network !== undefined && wantedAddress !== undefined && freeAddress === undefined,
  );
  if (taken === undefined) return undefined;
  return passing(
    "AddressTaken",
    `spec.networks: address ${taken.wantedAddress} of Network ${taken.name} was given to another machine, or machines may share it (allowedAddresses). The machine waits until it is free; or make a machine with another address.`,
  );
};

export const allowedAddressesAreOfTheNetwork = ({ networks }: Facts): Violation | undefined => {
  for (const use of networks) {
    const problem = use.allowedAddresses
      .map((address) => addressProblem(use, "allowed address", address))
      .find((found) => found !== undefined);
    if (problem !== undefined)
      return lasting("InvalidAllowedAddress", `${problem} Make a machine with other allowedAddresses.`);
  }
  return undefined;
};

const addressProblem = ({ name, network }: NetworkUse, what: string, text: string): string | undefined => {
  if (network === undefined) return undefined;
  const { block, gateway } = addressPool(network.spec);
  const address = parseAddress(text);
  if (!contains(block, address))
    return `spec.networks: ${what} ${text} is not in ${network.spec.cidr} of Network ${name}.`;
  const roles = [
    [gateway, "gateway"],
    [block.first, "network address"],
    [block.last, "broadcast address"],
  ] as const;
  const role = roles.find(([special]) => special === address)?.[1];
  return role && `spec.networks: ${what} ${text} is the ${role} of Network ${name}.`;
};

export const allowedAddressesAreNobodysOwn = ({ networks }: Facts): Violation | undefined => {
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

export const networksHaveFreeAddresses = ({ networks }: Facts): Violation | undefined => {
  const full = networks.find(
    ({ network, freeAddress, wantedAddress }) =>
      network !== undefined && wantedAddress === undefined && freeAddress === undefined,
  );
  if (full?.network === undefined) return undefined;
  const { capacity } = addressPool(full.network.spec);
  return passing(
    "AddressesExhausted",
    `Network ${full.name} has no free address: all ${capacity} are given out. Delete machines that are not needed, or make a machine in another network.`,
  );
};
