import {
  conntrackZone,
  deviceGroup,
  HAIRPIN_TAG,
  MARK_MASK,
  MARK_TAG,
  MARK_TAG_MASK,
  packetMark,
} from "../../api/network-identity.ts";
import type { RuleSet } from "../host/iptables/index.ts";
import { checkedAddress, holds, isAddress, parseBlock, renderBlock } from "./blocks.ts";
import { hookChain, ISOLATION_CHAIN, networkChain, NODES_SET } from "./owner.ts";
import type { DesiredFilters, FilterNetwork, GuestFilter } from "./types.ts";
import { FROM_GUEST, hexadecimal, sortedUnique, TO_GUEST, TO_TUNNEL } from "./words.ts";

/**
 * What keeps Networks apart on a node: to which Network a packet belongs, in
 * which table its connection is tracked, how it leaves the node, and from
 * which Network to which it may go.
 */

/** A Network with what local guests add to it. */
export interface LocalNetwork extends FilterNetwork {
  /** Addresses outside of cidr that guests here may send from, sorted. */
  readonly furtherAddresses: readonly string[];
  /** The guests' routers, addresses of this node, sorted. */
  readonly gateways: readonly string[];
}

type NamedChain = readonly [chain: string, rules: readonly string[]];

/** The CIDR as it is, checked. Throws RangeError. */
export const cidrOf = ({ vni, cidr }: Pick<FilterNetwork, "vni" | "cidr">): string => {
  const block = parseBlock(cidr);
  if (block === undefined) throw new RangeError(`not the CIDR of Network ${vni}: ${JSON.stringify(cidr)}`);
  return renderBlock(block);
};

/** What the guests of a Network add to it. */
export const localNetwork = (network: FilterNetwork, guests: readonly GuestFilter[]): LocalNetwork => {
  const block = parseBlock(cidrOf(network));
  const isOutside = (address: string): boolean => {
    const single = parseBlock(address);
    return isAddress(address) && block !== undefined && single !== undefined && !holds(block, single);
  };
  return {
    ...network,
    furtherAddresses: sortedUnique(guests.flatMap(({ allowedAddresses }) => allowedAddresses)).filter(
      isOutside,
    ),
    gateways: sortedUnique(guests.map(({ gateway }) => checkedAddress(gateway))),
  };
};

const OURS = `${hexadecimal(MARK_TAG)}/${hexadecimal(MARK_TAG_MASK)}`;
const MASKS = `--nfmask ${hexadecimal(MARK_MASK)} --ctmask ${hexadecimal(MARK_MASK)}`;
/** Matches packets to a floating address of this node from a guest of this node. */
export const HAIRPIN = `-m mark --mark ${hexadecimal(HAIRPIN_TAG)}/${hexadecimal(MARK_TAG_MASK)}`;

const fromNetwork = (vni: number): string => `-m devgroup --src-group ${hexadecimal(deviceGroup(vni))}`;
const toNetwork = (vni: number): string => `-m devgroup --dst-group ${hexadecimal(deviceGroup(vni))}`;

const mark = (vni: number): string => `${hexadecimal(packetMark(vni))}/${hexadecimal(MARK_MASK)}`;

const zone = (vni: number): string => `-j CT --zone ${conntrackZone(vni)}`;

/**
 * The first CT rule that matches counts. What passes between two Networks is
 * tracked in the lower one's zone, whoever begins. What goes elsewhere has the
 * zone in its own direction only, so that answers, which nobody can assign to
 * a Network, are found; so has what goes to the node's gateway, whose answers
 * the node itself makes. Nodes' addresses, which come through tunnels, have no zone.
 */
const zoneRules = ({ vni, furtherAddresses, gateways, peers, ...rest }: LocalNetwork): readonly string[] => {
  const cidr = cidrOf({ vni, cidr: rest.cidr });
  const peersOf = sortedUnique(peers.map((peer) => `${cidrOf(peer)} ${zone(Math.min(vni, peer.vni))}`));
  const between = (source: string): readonly string[] => [
    `-s ${source} -d ${cidr} ${zone(vni)}`,
    ...peersOf.map((peer) => `-s ${source} -d ${peer}`),
  ];
  const sources = [cidr, ...furtherAddresses];
  // What comes from other nodes by this Network's tunnel, and was tracked there in the same zone.
  const fromPeers = peers.map((peer) => `-s ${cidrOf(peer)} -d ${cidr} ${zone(Math.min(vni, peer.vni))}`);
  return [
    ...gateways.map((gateway) => `-d ${gateway} -j CT --zone-orig ${conntrackZone(vni)}`),
    ...sources.flatMap(between),
    ...sortedUnique(fromPeers),
    ...furtherAddresses.map((address) => `-s ${cidr} -d ${address} ${zone(vni)}`),
    ...sources.map((source) => `-s ${source} -j CT --zone-orig ${conntrackZone(vni)}`),
  ];
};

const rawNetworkRules = (network: LocalNetwork): readonly string[] => [
  `-j MARK --set-xmark ${mark(network.vni)}`,
  ...zoneRules(network),
];

/** raw: before anything is known of the connection. */
export const rawRules = (networks: readonly LocalNetwork[]): RuleSet => ({
  chains: new Map([
    [hookChain("PREROUTING"), networks.map(({ vni }) => `${fromNetwork(vni)} -g ${networkChain(vni)}`)],
    ...networks.map((network): NamedChain => [networkChain(network.vni), rawNetworkRules(network)]),
  ]),
  hooks: [{ builtIn: "PREROUTING", chain: hookChain("PREROUTING"), order: 20 }],
});

/**
 * mangle: a connection remembers the Network that it was begun in, and answers
 * to it find back there, also those that the node itself gives. A tunnel's
 * outer packet inherits the mark and must not be routed by it.
 *
 * Nodes are refused here, by the destination that the guest named: a service
 * of the cluster that is reached through a node's address is refused too.
 * Answers to nodes are not new.
 *
 * A connection that goes on here and was begun at another node is none of those
 * that get this node's address.
 */
export const mangleRules = (newcomers: DesiredFilters["newcomers"] = []): RuleSet => {
  const ours = `-m connmark --mark ${OURS}`;
  const restore = `-j CONNMARK --restore-mark ${MASKS}`;
  return {
    chains: new Map([
      [
        hookChain("PREROUTING"),
        [
          `${FROM_GUEST} -m conntrack --ctstate NEW -m set --match-set ${NODES_SET} dst -j DROP`,
          `-m mark --mark ${OURS} -m conntrack --ctstate NEW --ctdir ORIGINAL -j CONNMARK --save-mark ${MASKS}`,
          `${ours} -m conntrack --ctdir REPLY ${restore}`,
        ],
      ],
      [hookChain("OUTPUT"), [`${ours} ${restore}`]],
      [
        hookChain("POSTROUTING"),
        [
          `${TO_TUNNEL} -j MARK --set-xmark 0x0/${hexadecimal(MARK_MASK)}`,
          // What goes into a tunnel has no mark any more.
          ...sortedUnique(
            newcomers.map(
              ({ vni, address }) =>
                `! ${TO_GUEST} -s ${checkedAddress(address)} -p tcp -m mark --mark ${mark(vni)} -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP`,
            ),
          ),
        ],
      ],
    ]),
    hooks: ["PREROUTING", "OUTPUT", "POSTROUTING"].map((builtIn) => ({
      builtIn,
      chain: hookChain(builtIn),
      order: 10,
    })),
  };
};

/**
 * nat: what stays in our Networks keeps its sender, whatever other rules of
 * the node want. What nodes and pods send into a tunnel comes from the node,
 * so that the answer has a way back.
 */
export const natRules = (networks: readonly LocalNetwork[], tunnelAddress: string | undefined): RuleSet => ({
  chains: new Map([
    [
      hookChain("POSTROUTING"),
      [
        `${TO_GUEST} -m mark --mark ${OURS} -j ACCEPT`,
        `${TO_TUNNEL} -m connmark --mark ${OURS} -j ACCEPT`,
        ...(tunnelAddress === undefined
          ? []
          : [`${TO_TUNNEL} -j SNAT --to-source ${checkedAddress(tunnelAddress)}`]),
        ...networks
          .filter(({ egress }) => egress === "NAT")
          .flatMap((network) =>
            [cidrOf(network), ...network.furtherAddresses].map(
              (source) => `-s ${source} -m mark --mark ${mark(network.vni)} -j MASQUERADE`,
            ),
          ),
      ],
    ],
  ]),
  hooks: [{ builtIn: "POSTROUTING", chain: hookChain("POSTROUTING"), order: 20 }],
});

/** Where guests of a Network may send to at all; the groups' rules come after it. */
const isolationRules = ({ vni, peers, egress, egressExceptions = [] }: LocalNetwork): readonly string[] => [
  ...[...new Set([vni, ...peers.map((peer) => peer.vni)])]
    .sort((a, b) => a - b)
    .map((number) => `${toNetwork(number)} -j RETURN`),
  `${TO_GUEST} -j DROP`,
  `${TO_TUNNEL} -j DROP`,
  ...(egress === "NAT"
    ? []
    : [
        ...sortedUnique(egressExceptions.filter(isAddress)).map((address) => `-s ${address} -j RETURN`),
        `${FROM_GUEST} -j DROP`,
      ]),
];

/** filter: from which Network to which. A floating address is reached from everywhere. */
export const isolationChains = (networks: readonly LocalNetwork[]): readonly NamedChain[] => [
  [
    ISOLATION_CHAIN,
    [
      `${HAIRPIN} -j RETURN`,
      ...networks.map(({ vni }) => `${fromNetwork(vni)} -g ${networkChain(vni)}`),
      "-j DROP",
    ],
  ],
  ...networks.map((network): NamedChain => [networkChain(network.vni), isolationRules(network)]),
];

/** filter: a guest may ping its gateway. */
export const gatewayRules = (networks: readonly LocalNetwork[], what: string): readonly string[] =>
  networks.flatMap(({ vni, gateways }) =>
    gateways.map((gateway) => `${FROM_GUEST} ${fromNetwork(vni)} -d ${gateway} ${what} -j ACCEPT`),
  );
