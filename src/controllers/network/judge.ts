import type { Network } from "../../api/network.ts";
import { formatAddress, overlap, parseCidr } from "../../api/ipv4.ts";
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
 * All Networks share one routing domain in this version, so that of two that
 * overlap only the older can be used.
 *
 * @param networks all Networks; this one may be among them
 */
export const judgeNetwork = (network: Network, networks: readonly Network[]): NetworkVerdict => {
  const gateway = gatewayProblem(network);
  if (gateway !== undefined) return { kind: "unusable", reason: "InvalidGateway", message: gateway };
  const block = parseCidr(network.spec.cidr);
  const rival = networks
    .filter((other) => isOlder(other, network) && overlap(parseCidr(other.spec.cidr), block))
    .toSorted((a, b) => (isOlder(a, b) ? -1 : 1))[0];
  if (rival === undefined) return { kind: "usable" };
  const message = `${network.spec.cidr} overlaps ${rival.spec.cidr} of the older Network ${rival.metadata.name}. Make a Network with other addresses.`;
  return { kind: "unusable", reason: "CIDROverlap", message };
};

const gatewayProblem = ({ spec }: Network): string | undefined => {
  const { block, gateway } = addressPool(spec);
  const names = (what: string): string =>
    `Gateway ${formatAddress(gateway)} is the ${what} address of ${spec.cidr}. Make a Network with another gateway.`;
  if (gateway === block.first) return names("network");
  if (gateway === block.last) return names("broadcast");
  return undefined;
};

/** A total order, so that two of the same second do not both yield. */
const isOlder = (a: Network, b: Network): boolean => {
  if (a.metadata.uid === b.metadata.uid) return false;
  const [left, right] = [a.metadata.creationTimestamp, b.metadata.creationTimestamp];
  return left === right ? a.metadata.name < b.metadata.name : left < right;
};
