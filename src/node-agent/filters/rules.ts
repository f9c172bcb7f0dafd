import { REVOKED_BIT } from "../../api/network-identity.ts";
import type { AddressSet, AddressSets } from "../host/ipset/index.ts";
import type { Hook, RuleSet, Rules } from "../host/iptables/index.ts";
import { isAddress } from "./blocks.ts";
import { groupRules, type GroupRules } from "./group-rules.ts";
import { dispatchChains, groupsOf, type Groups, tapChains } from "./guest-rules.ts";
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
import { EGRESS_CHAIN, hookChain, INGRESS_CHAIN, ISOLATION_CHAIN, NODES_SET, SENDER_CHAIN } from "./owner.ts";
import type { DesiredFilters, GuestFilter } from "./types.ts";
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

/** The rules of each group, for each Network in which a guest here is in it. */
const groupsInUse = (
  guests: readonly GuestFilter[],
  groups: Groups,
  nodeAddress: string | undefined,
): ReadonlyMap<string, GroupRules> => {
  const used = new Map<string, GroupRules>();
  for (const guest of guests) {
    for (const group of groupsOf(guest, groups)) {
      const key = groupKey(group.uid, guest.vni);
      if (!used.has(key)) used.set(key, groupRules(group, guest.vni, nodeAddress));
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

const setsOf = (used: Iterable<GroupRules>, desired: DesiredFilters): AddressSets => {
  const sets = new Map<string, AddressSet>([[NODES_SET, addressSet(desired.nodeAddresses)]]);
  const members = indexMembers(desired);
  for (const rules of used) {
    for (const [name, blocks] of rules.blocks) sets.set(name, blocks);
    for (const { name, groupUid, vni } of rules.members) {
      if (!sets.has(name)) sets.set(name, addressSet(members.get(groupKey(groupUid, vni)) ?? []));
    }
  }
  return sets;
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
  groups: Groups,
  used: Iterable<GroupRules>,
): RuleSet => ({
  chains: new Map([
    [hookChain("FORWARD"), forwardRules],
    [hookChain("INPUT"), inputRules(networks, desired)],
    ...isolationChains(networks),
    ...dispatchChains(guests, HAIRPIN),
    ...[...used].flatMap((rules) => rules.chains),
    ...guests.flatMap((guest) => tapChains(guest, groups)),
  ]),
  hooks: filterHooks,
});

/**
 * Rules for IPv4. The order and repetitions of the input do not matter. Throws
 * RangeError when two guests want one tap, and for values that are no words of a rule.
 */
export const ipv4Rules = (desired: DesiredFilters): NodeRules => {
  const guests = uniqueByKey(desired.guests, ({ tap }) => tap, "tap");
  const groups: Groups = new Map(
    uniqueByKey(desired.groups, ({ uid }) => uid, "group").map((group) => [group.uid, group]),
  );
  const networks = localNetworks(desired);
  const inUse = groupsInUse(guests, groups, desired.tunnelAddress);
  const used = [...inUse.values()];
  return {
    tables: {
      raw: rawRules(networks),
      mangle: mangleRules(),
      nat: natRules(networks, desired.tunnelAddress),
      filter: filterRules(desired, networks, guests, groups, used),
    },
    sets: setsOf(used, desired),
    guests,
    groups,
    inUse,
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
