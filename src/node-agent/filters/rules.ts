import { REVOKED_BIT } from "../../api/network-identity.ts";
import type { AddressSet, AddressSets } from "../host/ipset/index.ts";
import type { Hook, RuleSet, Rules } from "../host/iptables/index.ts";
import { isAddress } from "./blocks.ts";
import { groupRules, type GroupRules } from "./group-rules.ts";
import { dispatchChains, groupsOf, type Groups, tapOf, type TapRules, tapRules } from "./guest-rules.ts";
import {
  gatewayRules,
  HAIRPIN,
  isolationChains,
  localNetwork,
  type LocalNetwork,
  mangleRules,
  natRules,
  rawRules,
} from "./network-rules.ts";
import { remembering } from "./remember.ts";
import { EGRESS_CHAIN, hookChain, INGRESS_CHAIN, ISOLATION_CHAIN, NODES_SET, SENDER_CHAIN } from "./owner.ts";
import type { DesiredFilters, FilterGroup, GuestFilter } from "./types.ts";
import {
  ECHO_REQUEST,
  FROM_GUEST,
  FROM_TUNNEL,
  hexadecimal,
  TO_GUEST,
  TO_TUNNEL,
  uniqueByKey,
} from "./words.ts";

/** What a node's filter is to be: rules for IPv4 and the sets that they name. */
export interface NodeRules {
  readonly tables: Rules;
  readonly sets: AddressSets;
  readonly guests: readonly GuestFilter[];
  readonly groups: Groups;
  /** By groupKey: what there is for a group, as guests of one Network see it. */
  readonly inUse: ReadonlyMap<string, GroupRules>;
}

/** Key of a group as guests of one Network see it. */
export const groupKey = (uid: string, vni: number): string => `${vni} ${uid}`;

const filterHooks: readonly Hook[] = ["FORWARD", "INPUT"].map((builtIn) => ({
  builtIn,
  chain: hookChain(builtIn),
  order: 10,
}));

const LINK_LOCAL = "169.254.0.0/16";
const REVOKED = `-m connmark --mark ${hexadecimal(REVOKED_BIT)}/${hexadecimal(REVOKED_BIT)}`;
const STRAY = "-m conntrack --ctstate INVALID,UNTRACKED";

/**
 * - The sender is looked at before anything else, established or not: whoever
 *   pretends to be somebody else does not even get an answer.
 * - A revoked connection is refused in both directions; TCP is told so, and
 *   its entry stays, so that it cannot come back.
 * - Link-local addresses serve whoever is on a link: often a cloud's metadata.
 * - What a guest sends meets its own groups, and then those of the receiver if
 *   that is a guest of this node: each has to allow it.
 */
const forwardRules: readonly string[] = [
  `${FROM_GUEST} -j ${SENDER_CHAIN}`,
  ...[FROM_GUEST, TO_GUEST].flatMap((side) => [
    `${side} ${REVOKED} -p tcp -j REJECT --reject-with tcp-reset`,
    `${side} ${REVOKED} -j DROP`,
  ]),
  ...[FROM_GUEST, TO_GUEST].map((side) => `${side} ${STRAY} -j DROP`),
  ...[FROM_GUEST, TO_GUEST].map((side) => `${side} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`),
  `${FROM_GUEST} -d ${LINK_LOCAL} -j DROP`,
  `${FROM_GUEST} -m set --match-set ${NODES_SET} dst -j DROP`,
  ...[FROM_GUEST, FROM_TUNNEL].map((side) => `${side} -j ${ISOLATION_CHAIN}`),
  `${FROM_GUEST} -j ${EGRESS_CHAIN}`,
  `${TO_GUEST} -j ${INGRESS_CHAIN}`,
  // Where a guest has moved, packets to it come here for a while.
  `${FROM_TUNNEL} ${TO_TUNNEL} -j ACCEPT`,
  `${FROM_TUNNEL} -m conntrack --ctstate NEW,INVALID,UNTRACKED -j DROP`,
];

/**
 * A guest may answer the node, may ping its gateway, and reaches nothing else
 * of the node; guests of other nodes may only answer. Tunnels come from nodes.
 */
const inputRules = (networks: readonly LocalNetwork[], desired: DesiredFilters): readonly string[] => {
  const tunnel = `-p udp -m udp --dport ${Math.trunc(desired.vxlanPort)}`;
  const answers = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT";
  return [
    `${FROM_GUEST} -j ${SENDER_CHAIN}`,
    `${FROM_GUEST} ${answers}`,
    ...gatewayRules(networks, ECHO_REQUEST),
    `${FROM_GUEST} -j DROP`,
    `${FROM_TUNNEL} ${answers}`,
    `${FROM_TUNNEL} -j DROP`,
    ...(desired.tunnelAddress === undefined
      ? []
      : [`${tunnel} -m set --match-set ${NODES_SET} src -j ACCEPT`, `${tunnel} -j DROP`]),
  ];
};

/** What the rules of a group follow from, as guests of one Network see it. */
interface GroupInUse {
  readonly group: FilterGroup;
  readonly vni: number;
  readonly nodeAddress: string | undefined;
}

/** Each group, for each Network in which a guest here is in it. */
const groupsInUse = (
  guests: readonly GuestFilter[],
  groups: Groups,
  nodeAddress: string | undefined,
): ReadonlyMap<string, GroupInUse> => {
  const used = new Map<string, GroupInUse>();
  for (const guest of guests) {
    for (const group of groupsOf(guest, groups)) {
      used.set(groupKey(group.uid, guest.vni), { group, vni: guest.vni, nodeAddress });
    }
  }
  return used;
};

/** Addresses of members by group and Network. */
const indexMembers = ({ members }: DesiredFilters): ReadonlyMap<string, readonly string[]> => {
  const index = new Map<string, string[]>();
  for (const { groupUid, vni, addresses } of members) {
    const key = groupKey(groupUid, vni);
    index.set(key, [...(index.get(key) ?? []), ...addresses]);
  }
  return index;
};

const addressSet = (addresses: readonly string[]): AddressSet => ({
  type: "hash:ip",
  entries: new Set(addresses.filter(isAddress)),
});

/** The addresses that each set of addresses is to hold. */
const addressesOf = (
  used: readonly GroupRules[],
  desired: DesiredFilters,
): ReadonlyMap<string, readonly string[]> => {
  const members = indexMembers(desired);
  const addresses = new Map<string, readonly string[]>([[NODES_SET, desired.nodeAddresses]]);
  for (const { name, groupUid, vni } of used.flatMap((rules) => rules.members)) {
    addresses.set(name, members.get(groupKey(groupUid, vni)) ?? []);
  }
  return addresses;
};

const localNetworks = ({ networks, guests }: DesiredFilters): readonly LocalNetwork[] => {
  const byNetwork = Map.groupBy(guests, ({ vni }) => vni);
  return uniqueByKey(networks, ({ vni }) => String(vni), "Network").map((network) =>
    localNetwork(network, byNetwork.get(network.vni) ?? []),
  );
};

const filterRules = (
  desired: DesiredFilters,
  networks: readonly LocalNetwork[],
  guests: readonly GuestFilter[],
  used: readonly GroupRules[],
  taps: readonly TapRules[],
): RuleSet => ({
  chains: new Map([
    [hookChain("FORWARD"), forwardRules],
    [hookChain("INPUT"), inputRules(networks, desired)],
    ...isolationChains(networks),
    ...dispatchChains(guests, HAIRPIN),
    ...used.flatMap((rules) => rules.chains),
    ...taps.flat(),
  ]),
  hooks: filterHooks,
});

/**
 * Makes the rules for IPv4, and remembers for the next time what it made of
 * each group and each guest. The order and repetitions of the input do not
 * matter. Throws RangeError when two guests want one tap, and for values that
 * are no words of a rule.
 */
export const createRuleWriter = (): ((desired: DesiredFilters) => NodeRules) => {
  const writeGroups = remembering(({ group, vni, nodeAddress }: GroupInUse) =>
    groupRules(group, vni, nodeAddress),
  );
  const writeTaps = remembering(tapRules);
  const writeSets = remembering(addressSet);
  return (desired) => {
    const guests = uniqueByKey(desired.guests, ({ tap }) => tap, "tap");
    const groups: Groups = new Map(
      uniqueByKey(desired.groups, ({ uid }) => uid, "group").map((group) => [group.uid, group]),
    );
    const networks = localNetworks(desired);
    const inUse = writeGroups(groupsInUse(guests, groups, desired.tunnelAddress));
    const used = [...inUse.values()];
    const taps = writeTaps(new Map(guests.map((guest) => [guest.tap, tapOf(guest, groups)])));
    return {
      tables: {
        raw: rawRules(networks),
        mangle: mangleRules(desired.newcomers),
        nat: natRules(networks, desired.tunnelAddress),
        filter: filterRules(desired, networks, guests, used, [...taps.values()]),
      },
      sets: new Map([...writeSets(addressesOf(used, desired)), ...used.flatMap(({ blocks }) => blocks)]),
      guests,
      groups,
      inUse,
    };
  };
};

/** Rules for IPv6, which guests do not have. */
export const ipv6Rules: Rules = {
  filter: {
    chains: new Map([
      [hookChain("FORWARD"), [FROM_GUEST, TO_GUEST, FROM_TUNNEL, TO_TUNNEL].map((side) => `${side} -j DROP`)],
      [hookChain("INPUT"), [FROM_GUEST, FROM_TUNNEL].map((side) => `${side} -j DROP`)],
    ]),
    hooks: filterHooks,
  },
};
