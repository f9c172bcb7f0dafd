import { type AddressBlock, overlap, parseCidr } from "./ipv4.ts";
import type { Network } from "./network.ts";

/**
 * Networks that let each other's machines in, without translation: spec.routesTo.
 * The controller tells the user of it and node agents act on it, so both ask here.
 */

/** Why a Network that another one names is no peer of it. */
export type PeerProblem =
  /** No Network of that name. */
  | { readonly kind: "missing" }
  /** It does not name this one. */
  | { readonly kind: "one-sided" }
  /** Its addresses are this one's too. */
  | { readonly kind: "overlap" }
  /** The two would do, but an older peer of one of them has the other's addresses. */
  | { readonly kind: "crowded"; readonly network: string; readonly by: string };

export interface PeerVerdict {
  /** As in spec.routesTo. */
  readonly name: string;
  /** The peer, or why there is none. */
  readonly outcome: { readonly kind: "peer"; readonly network: Network } | PeerProblem;
}

/**
 * The Networks whose machines may reach this one's, and the other way round: both
 * name each other, and no address is in two of all that a machine can reach. Of
 * peers that have addresses in common the oldest is one. It is mutual: if a is a
 * peer of b, b is one of a.
 *
 * @param networks all Networks; this one may be among them
 */
export const peersOf = (network: Network, networks: readonly Network[]): readonly Network[] =>
  judgePeers(network, networks).flatMap(({ outcome }) => (outcome.kind === "peer" ? [outcome.network] : []));

/** Says of each name in spec.routesTo, in order of names, whether it is a peer. */
export const judgePeers = (network: Network, networks: readonly Network[]): readonly PeerVerdict[] => {
  const byName = new Map(networks.map((each) => [each.metadata.name, each]));
  return network.spec.routesTo
    .toSorted()
    .map((name) => ({ name, outcome: judgePeer(network, name, byName) }));
};

type NetworksByName = ReadonlyMap<string, Network>;

const judgePeer = (network: Network, name: string, byName: NetworksByName): PeerVerdict["outcome"] => {
  const other = byName.get(name);
  if (other === undefined) return { kind: "missing" };
  if (!other.spec.routesTo.includes(network.metadata.name)) return { kind: "one-sided" };
  if (haveAddressesInCommon(network, other)) return { kind: "overlap" };
  const crowded = crowdedOut(network, other, byName) ?? crowdedOut(other, network, byName);
  return crowded ?? { kind: "peer", network: other };
};

/** Does an older one of those that the host and others agree on leave no room for the guest? */
const crowdedOut = (host: Network, guest: Network, byName: NetworksByName): PeerProblem | undefined => {
  const admitted: Network[] = [];
  for (const candidate of candidatesOf(host, byName).toSorted(byAge)) {
    const rival = admitted.find((earlier) => haveAddressesInCommon(earlier, candidate));
    if (rival === undefined) admitted.push(candidate);
    else if (candidate.metadata.name === guest.metadata.name)
      return { kind: "crowded", network: host.metadata.name, by: rival.metadata.name };
  }
  return undefined;
};

const candidatesOf = (network: Network, byName: NetworksByName): readonly Network[] =>
  network.spec.routesTo
    .flatMap((name) => byName.get(name) ?? [])
    .filter(
      (other) =>
        other.spec.routesTo.includes(network.metadata.name) && !haveAddressesInCommon(network, other),
    );

/** Is an address in both? A Network is not told apart from itself: it overlaps. */
export const haveAddressesInCommon = (a: Network, b: Network): boolean => overlap(blockOf(a), blockOf(b));

const blockOf = ({ spec }: Network): AddressBlock => parseCidr(spec.cidr);

/** The order in which Networks were made: a total one, so that two of the same second do not both yield. */
export const byAge = (a: Network, b: Network): number => {
  const [left, right] = [a, b].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.name}`);
  return (left ?? "") < (right ?? "") ? -1 : left === right ? 0 : 1;
};
