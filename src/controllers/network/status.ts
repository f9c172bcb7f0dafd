import { judgePeers, type PeerVerdict } from "../../api/network-peers.ts";
import type { Network } from "../../api/network.ts";
import { formatAddress } from "../../api/ipv4.ts";
import { type Draft, draftOf, notReady, observed, ready, stalled } from "../conditions.ts";
import { addressPool } from "../ipam/pool.ts";
import { judgeNetwork } from "./judge.ts";
import type { AddressClash, NetworkFacts } from "./observe.ts";

export type NetworkStatus = NonNullable<Network["status"]>;

/** The whole status of a Network. */
export const networkStatus = (facts: NetworkFacts, now: Date): NetworkStatus => {
  const { network, networks, number, allocated, clashes } = facts;
  const pool = addressPool(network.spec);
  const peers = peerDrafts(judgePeers(network, networks));
  return {
    ...observed(network, [...readiness(facts), ...peers, ...clashDrafts(clashes)], now),
    gateway: formatAddress(pool.gateway),
    ...(number.kind === "number" && { vni: number.vni }),
    addresses: { capacity: pool.capacity, allocated },
  };
};

const readiness = ({ network, networks, number }: NetworkFacts): readonly Draft[] => {
  const verdict = judgeNetwork(network, networks);
  if (verdict.kind === "unusable") return stalled(verdict.reason, verdict.message);
  if (number.kind === "none") return notReady(number.reason, number.message);
  return ready("Valid", "Machines may use it.");
};

/** A peer that is missing does not keep machines from using the network. */
const peerDrafts = (verdicts: readonly PeerVerdict[]): readonly Draft[] => {
  if (verdicts.length === 0) return [];
  const problems = verdicts.flatMap(({ name, outcome }) => {
    const problem = peerProblem(name, outcome);
    return problem === undefined ? [] : [problem];
  });
  const [first] = problems;
  if (first === undefined)
    return [draftOf("PeersReady", "True", "Mutual", "All Networks that it routes to are its peers.")];
  return [draftOf("PeersReady", "False", first.reason, problems.map(({ message }) => message).join(" "))];
};

const peerProblem = (
  name: string,
  outcome: PeerVerdict["outcome"],
): { readonly reason: string; readonly message: string } | undefined => {
  switch (outcome.kind) {
    case "peer":
      return undefined;
    case "missing":
      return { reason: "PeerNotFound", message: `Network ${name} does not exist.` };
    case "one-sided":
      return {
        reason: "PeerOneSided",
        message: `Network ${name} does not name this one in its spec.routesTo.`,
      };
    case "overlap":
      return { reason: "PeerOverlap", message: `Network ${name} has addresses of this one.` };
    case "crowded":
      return {
        reason: "PeerOverlap",
        message: `Network ${name} is left out: Network ${outcome.network} has an older peer ${outcome.by} with the same addresses.`,
      };
  }
};

/** Only there when something is wrong. */
const clashDrafts = (clashes: readonly AddressClash[]): readonly Draft[] => {
  const [first] = clashes;
  if (first === undefined) return [];
  const message = `${first.address} was given to ${first.machines.join(" and ")}. Delete one of them, and report this: it must not happen.`;
  return [draftOf("AddressConflict", "True", "DoubleAddress", message)];
};
