import ipaddr from "ipaddr.js";
import {
  EGRESS_CHAIN,
  egressChain,
  FORWARD_CHAIN,
  INGRESS_CHAIN,
  ingressChain,
  INPUT_CHAIN,
} from "./owner.ts";
import type { GuestFilter } from "./types.ts";

/**
 * What all guests are to have, as chains of rules. The words of a rule are
 * those of iptables(8), without "-A CHAIN".
 *
 *   FORWARD -> VIREO-FORWARD   what guests send to others, and others to guests
 *     -> VIREO-EGRESS -> VIREO-E-<tap>     is the sender who it says it is?
 *     -> VIREO-INGRESS -> VIREO-I-<tap>    may this reach the guest?
 *   INPUT -> VIREO-INPUT       what guests send to the node
 *     -> VIREO-EGRESS -> VIREO-E-<tap>
 */

export type Chains = ReadonlyMap<string, readonly string[]>;

/** A built-in chain of the filter table, and our chain that it goes to before anything else. */
export interface Hook {
  readonly builtIn: string;
  readonly chain: string;
}

export interface RuleSet {
  readonly chains: Chains;
  readonly hooks: readonly Hook[];
}

/** Nothing of ours at all. */
export const noRules: RuleSet = { chains: new Map(), hooks: [] };

const hooks: readonly Hook[] = [
  { builtIn: "FORWARD", chain: FORWARD_CHAIN },
  { builtIn: "INPUT", chain: INPUT_CHAIN },
];

/** All taps of Vireo, in iptables' words; also those that have no chains (yet, or any more). */
const FROM_GUEST = "-i vtap+";
const TO_GUEST = "-o vtap+";
const LINK_LOCAL = "169.254.0.0/16";
const ECHO_REQUEST = "-p icmp -m icmp --icmp-type 8";

/** One word of a rule. The values are checked long before; that none can become a rule is checked here. */
const word = (value: string): string => {
  if (!/^[A-Za-z0-9.:-]+$/.test(value)) {
    throw new RangeError(`not a word for an iptables rule: ${JSON.stringify(value)}`);
  }
  return value;
};

const isIpv4 = (address: string): boolean => ipaddr.IPv4.isValidFourPartDecimal(address);

const sortedUnique = (values: readonly string[]): readonly string[] => [...new Set(values)].sort();

const rulesOf = ({ macAddress, address }: GuestFilter) => ({
  // Returns when all is well: what comes next decides about the packet itself.
  egress: [`! -s ${word(address)} -j DROP`, `-m mac ! --mac-source ${word(macAddress)} -j DROP`],
  ingress: [`${ECHO_REQUEST} -j ACCEPT`, "-p tcp -m tcp --dport 22 -j ACCEPT", "-j DROP"],
});

/**
 * - The sender is looked at before anything is accepted, established or not.
 * - Link-local addresses serve whoever is on a link: often a cloud's metadata.
 * - Nodes are refused by the destination that the guest named (ctorigdst): a
 *   service of the cluster that is reached through a node's address is refused too.
 *   After ESTABLISHED, so that a guest can answer a node.
 * - What a guest sends to another guest here passes that one's ingress chain.
 */
const forwardRules = (nodeAddresses: readonly string[]): readonly string[] => [
  `${FROM_GUEST} -j ${EGRESS_CHAIN}`,
  `${FROM_GUEST} -m conntrack --ctstate INVALID,UNTRACKED -j DROP`,
  `${TO_GUEST} -m conntrack --ctstate INVALID,UNTRACKED -j DROP`,
  `${FROM_GUEST} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  `${TO_GUEST} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  `${FROM_GUEST} -d ${LINK_LOCAL} -j DROP`,
  ...nodeAddresses.map((node) => `${FROM_GUEST} -m conntrack --ctorigdst ${word(node)} -j DROP`),
  `${TO_GUEST} -j ${INGRESS_CHAIN}`,
  `${FROM_GUEST} -j ACCEPT`,
];

/** A guest may answer the node, may ping its gateway, and reaches nothing else of the node. */
const inputRules = (gateways: readonly string[]): readonly string[] => [
  `${FROM_GUEST} -j ${EGRESS_CHAIN}`,
  `${FROM_GUEST} -m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT`,
  ...gateways.map((gateway) => `${FROM_GUEST} -d ${word(gateway)} ${ECHO_REQUEST} -j ACCEPT`),
  `${FROM_GUEST} -j DROP`,
];

/** The order and repetitions of the input do not matter. */
const normalised = (guests: readonly GuestFilter[]): readonly GuestFilter[] => {
  const byTap = new Map<string, GuestFilter>();
  for (const guest of guests) {
    const known = byTap.get(guest.tap);
    if (known !== undefined && (known.address !== guest.address || known.macAddress !== guest.macAddress)) {
      throw new RangeError(`tap ${guest.tap} is wanted for two guests, ${known.vmUid} and ${guest.vmUid}`);
    }
    byTap.set(guest.tap, guest);
  }
  return [...byTap.values()].sort((a, b) => (a.tap < b.tap ? -1 : 1));
};

/**
 * Rules for IPv4. A tap that no guest names gets nothing through, in either
 * direction. Throws RangeError when two guests want one tap.
 */
export const ipv4Rules = (guests: readonly GuestFilter[], nodeAddresses: readonly string[]): RuleSet => {
  const wanted = normalised(guests);
  const taps = wanted.map(({ tap }) => word(tap));
  const chains = new Map<string, readonly string[]>([
    [FORWARD_CHAIN, forwardRules(sortedUnique(nodeAddresses.filter(isIpv4)))],
    [INPUT_CHAIN, inputRules(sortedUnique(wanted.map(({ gateway }) => gateway)))],
    // -g: the end of a tap's chain leads back behind the dispatch, past its DROP.
    [EGRESS_CHAIN, [...taps.map((tap) => `-i ${tap} -g ${egressChain(tap)}`), "-j DROP"]],
    [INGRESS_CHAIN, [...taps.map((tap) => `-o ${tap} -g ${ingressChain(tap)}`), "-j DROP"]],
  ]);
  for (const guest of wanted) {
    const { egress, ingress } = rulesOf(guest);
    chains.set(egressChain(guest.tap), egress);
    chains.set(ingressChain(guest.tap), ingress);
  }
  return { chains, hooks };
};

/** Rules for IPv6, which guests do not have. */
export const ipv6Rules: RuleSet = {
  chains: new Map([
    [FORWARD_CHAIN, [`${FROM_GUEST} -j DROP`, `${TO_GUEST} -j DROP`]],
    [INPUT_CHAIN, [`${FROM_GUEST} -j DROP`]],
  ]),
  hooks,
};
