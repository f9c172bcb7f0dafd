import { formatAddress } from "../../api/ipv4.ts";
import { byAge, haveAddressesInCommon } from "../../api/network-peers.ts";
import type { Network } from "../../api/network.ts";
import { addressPool } from "../ipam/pool.ts";

/** May machines be given addresses of this network? */
export type NetworkVerdict =
  | { readonly kind: "usable" }
  | {
      readonly kind: "unusable";
      readonly reason: "CIDROverlap" | "InvalidGateway";
      readonly message: string;
    };

/**
 * Networks may have the same addresses, since each has a routing table of its
 * own on each node. Only what the nodes themselves send goes by the address
 * alone: of two that overlap and are both reachable from nodes, only the older
 * can be used.
 *
 * @param networks all Networks; this one may be among them
 */
export const judgeNetwork = (network: Network, networks: readonly Network[]): NetworkVerdict => {
  const gateway = gatewayProblem(network);
  if (gateway !== undefined) return { kind: "unusable", reason: "InvalidGateway", message: gateway };
  const rival = network.spec.reachableFromNodes ? olderRival(network, networks) : undefined;
  if (rival === undefined) return { kind: "usable" };
  const message = `${network.spec.cidr} overlaps ${rival.spec.cidr} of the older Network ${rival.metadata.name}, and nodes can have a route to one of them only. Set spec.reachableFromNodes of this Network or of that one to false.`;
  return { kind: "unusable", reason: "CIDROverlap", message };
};

/**
 * The number that the Network has for itself, and under which nodes know it. Of
 * two with the same number, which must not happen, only the older has it.
 *
 * @param networks all Networks; this one may be among them
 */
export const numberOf = (network: Network, networks: readonly Network[]): number | undefined => {
  const vni = network.status?.vni;
  const isTaken = networks.some((other) => other.status?.vni === vni && isOlder(other, network));
  return isTaken ? undefined : vni;
};

const olderRival = (network: Network, networks: readonly Network[]): Network | undefined =>
  networks
    .filter(
      (other) =>
        isOlder(other, network) && other.spec.reachableFromNodes && haveAddressesInCommon(other, network),
    )
    .toSorted(byAge)[0];

const isOlder = (a: Network, b: Network): boolean => a.metadata.uid !== b.metadata.uid && byAge(a, b) < 0;

const gatewayProblem = ({ spec }: Network): string | undefined => {
  const { block, gateway } = addressPool(spec);
  const names = (what: string): string =>
    `Gateway ${formatAddress(gateway)} is the ${what} address of ${spec.cidr}. Make a Network with another gateway.`;
  if (gateway === block.first) return names("network");
  if (gateway === block.last) return names("broadcast");
  return undefined;
};
