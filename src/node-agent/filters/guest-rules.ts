import { checkedAddress, isAddress } from "./blocks.ts";
import {
  EGRESS_CHAIN,
  egressChain,
  groupEgressChain,
  groupHairpinChain,
  groupIngressChain,
  HAIRPIN_CHAIN,
  hairpinChain,
  INGRESS_CHAIN,
  ingressChain,
  SENDER_CHAIN,
  senderChain,
} from "./owner.ts";
import type { FilterGroup, GuestFilter } from "./types.ts";
import { sortedUnique, TO_GUEST, word } from "./words.ts";

/** The chains of each tap, and the chains that lead to them. */

type NamedChain = readonly [chain: string, rules: readonly string[]];

/** Groups by uid. */
export type Groups = ReadonlyMap<string, FilterGroup>;

/** The groups of a guest that there are. */
export const groupsOf = ({ securityGroups }: GuestFilter, groups: Groups): readonly FilterGroup[] =>
  sortedUnique(securityGroups).flatMap((uid) => groups.get(uid) ?? []);

/** iptables refuses a longer prefix of a log line. */
const MAX_LOG_PREFIX = 29;

/** Names are cut to what has room; the space before the kernel's own words stays. */
const logRule = ({ namespace, name }: GuestFilter): string => {
  const prefix = `vireo:${word(namespace)}/${word(name)}`.slice(0, MAX_LOG_PREFIX - 1);
  return `-m limit --limit 1/second --limit-burst 10 -j LOG --log-prefix "${prefix} "`;
};

/** Returns when the guest is who it says it is: what comes next decides about the packet itself. */
const senderRules = ({ macAddress, address, allowedAddresses }: GuestFilter): readonly string[] => [
  `-m mac ! --mac-source ${word(macAddress)} -j DROP`,
  ...sortedUnique([checkedAddress(address), ...allowedAddresses.filter(isAddress)]).map(
    (own) => `-s ${own} -j RETURN`,
  ),
  "-j DROP",
];

/** What the chains of a tap follow from. */
export interface TapInUse {
  readonly guest: GuestFilter;
  /** Uids of the guest's groups that there are. */
  readonly groups: readonly string[];
  readonly logRefused: boolean;
}

export const tapOf = (guest: GuestFilter, groups: Groups): TapInUse => {
  const own = groupsOf(guest, groups);
  return {
    guest,
    groups: own.map(({ uid }) => uid),
    logRefused: own.some(({ logRefused }) => logRefused),
  };
};

/** The chains of one tap. */
export type TapRules = readonly NamedChain[];

/** They try the groups one after the other, and refuse what none of them allows. */
export const tapRules = ({ guest, groups, logRefused }: TapInUse): TapRules => {
  const through = (chainOf: (uid: string, vni: number) => string): readonly string[] => [
    ...groups.map((uid) => `-j ${chainOf(uid, guest.vni)}`),
    ...(logRefused ? [logRule(guest)] : []),
    "-j DROP",
  ];
  return [
    [senderChain(guest.tap), senderRules(guest)],
    [egressChain(guest.tap), through(groupEgressChain)],
    [ingressChain(guest.tap), through(groupIngressChain)],
    [hairpinChain(guest.tap), through(groupHairpinChain)],
  ];
};

/** Taps are found by the first character after "vtap", then one by one: a tree with two levels. */
const BRANCH_LENGTH = "vtap".length + 1;

/**
 * Leads from `chain` to the chain of the packet's tap, with -g: where that one
 * ends, it leads back behind the jump to `chain`, past the rules here. What
 * comes from a tap that has no chain meets `otherwise`.
 */
const dispatch = (options: {
  readonly chain: string;
  /** -i or -o. */
  readonly side: string;
  readonly taps: readonly string[];
  readonly chainOf: (tap: string) => string;
  readonly first?: readonly string[];
  readonly otherwise: readonly string[];
}): readonly NamedChain[] => {
  const { chain, side, taps, chainOf, first = [], otherwise } = options;
  const branches = Map.groupBy(taps, (tap) => tap.slice(0, BRANCH_LENGTH));
  const branchChain = (branch: string): string => `${chain}-${branch.slice(-1)}`;
  return [
    [
      chain,
      [
        ...first,
        ...[...branches.keys()].map((branch) => `${side} ${branch}+ -g ${branchChain(branch)}`),
        ...otherwise,
      ],
    ],
    ...[...branches].map(([branch, members]): NamedChain => [
      branchChain(branch),
      [...members.map((tap) => `${side} ${tap} -g ${chainOf(tap)}`), "-j DROP"],
    ]),
  ];
};

/**
 * The chains that lead to those of the taps. A tap without chains gets nothing
 * through. `guests` are sorted by tap.
 */
export const dispatchChains = (guests: readonly GuestFilter[], hairpin: string): readonly NamedChain[] => {
  const taps = guests.map(({ tap }) => word(tap));
  const refuse = ["-j DROP"];
  return [
    ...dispatch({
      chain: SENDER_CHAIN,
      side: "-i",
      taps,
      chainOf: senderChain,
      // A guest does not give others their addresses; not as an answer either.
      first: ["-p udp -m udp --sport 67 -j DROP"],
      otherwise: refuse,
    }),
    ...dispatch({ chain: EGRESS_CHAIN, side: "-i", taps, chainOf: egressChain, otherwise: refuse }),
    ...dispatch({
      chain: INGRESS_CHAIN,
      side: "-o",
      taps,
      chainOf: ingressChain,
      first: [`${TO_GUEST} ${hairpin} -g ${HAIRPIN_CHAIN}`],
      // What a guest sends to somewhere else than a guest of this node comes here too.
      otherwise: [`${TO_GUEST} -j DROP`, "-j ACCEPT"],
    }),
    ...dispatch({ chain: HAIRPIN_CHAIN, side: "-o", taps, chainOf: hairpinChain, otherwise: refuse }),
  ];
};
