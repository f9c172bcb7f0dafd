import { groupNamesOf, type SecurityGroup, type SecurityGroupRule } from "../../../api/security-group.ts";
import {
  allNodeAddresses,
  type KnownNetwork,
  localNumbers,
  type NetworkFacts,
  type PlacedAddress,
  placedAddresses,
  wantedNetworks,
} from "./cluster-network.ts";
import type {
  DesiredFilters,
  FilterGroup,
  FilterRule,
  GroupMembers,
  GuestFilter,
} from "../../filters/types.ts";
import { tapName } from "../../links/types.ts";

const protocolNumbers: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17 };

const protocolOf = (protocol: string): FilterRule["protocol"] =>
  protocol === "any" ? "any" : (protocolNumbers[protocol] ?? Number(protocol));

/** How a group is found by those that name it. */
type GroupUids = ReadonlyMap<string, string>;

const groupKey = (namespace: string, name: string): string => `${namespace}/${name}`;

const remoteOf = (
  remote: SecurityGroupRule["remote"],
  namespace: string,
  uids: GroupUids,
): FilterRule["remote"] => {
  if (remote === undefined) return { kind: "any" };
  // A group that does not exist has no members: the name stands for a uid that nobody has.
  if (remote.group !== undefined) {
    const key = groupKey(namespace, remote.group);
    return { kind: "group", uid: uids.get(key) ?? key };
  }
  return { kind: "cidrs", cidrs: remote.cidrs ?? [], except: remote.except ?? [] };
};

const ruleOf = (rule: SecurityGroupRule, namespace: string, uids: GroupUids): FilterRule => ({
  protocol: protocolOf(rule.protocol),
  ...(rule.port === undefined ? {} : { ports: { first: rule.port, last: rule.endPort ?? rule.port } }),
  ...(rule.icmp === undefined
    ? {}
    : { icmp: { type: rule.icmp.type, ...(rule.icmp.code === undefined ? {} : { code: rule.icmp.code }) } }),
  remote: remoteOf(rule.remote, namespace, uids),
});

const ANYTHING: FilterRule = { protocol: "any", remote: { kind: "any" } };

const groupOf = ({ metadata, spec }: SecurityGroup, uids: GroupUids): FilterGroup => {
  const { namespace = "" } = metadata;
  const translate = (rule: SecurityGroupRule): FilterRule => ruleOf(rule, namespace, uids);
  return {
    uid: metadata.uid,
    ingress: spec.ingress.map(translate),
    egress: spec.egress === undefined ? [ANYTHING] : spec.egress.map(translate),
    logRefused: spec.logRefused,
  };
};

/** Uids of the groups whose members a group's rules speak of. */
const remoteGroups = ({ ingress, egress }: FilterGroup): readonly string[] =>
  [...ingress, ...egress].flatMap(({ remote }) => (remote.kind === "group" ? [remote.uid] : []));

/** Members of the groups by Network, as guests of each Network here may see them: in it, and in those that it routes to. */
const membersOf = (
  groupUids: ReadonlySet<string>,
  networks: readonly KnownNetwork[],
  addresses: readonly PlacedAddress[],
  uids: GroupUids,
): readonly GroupMembers[] => {
  const found = new Map<string, Map<number, string[]>>([...groupUids].map((uid) => [uid, new Map()]));
  for (const { namespace, securityGroups, vni, address } of addresses) {
    for (const name of securityGroups) {
      const byNetwork = found.get(uids.get(groupKey(namespace, name)) ?? "");
      if (byNetwork === undefined) continue;
      const members = byNetwork.get(vni);
      if (members === undefined) byNetwork.set(vni, [address]);
      else members.push(address);
    }
  }
  return [...found].flatMap(([groupUid, byNetwork]) =>
    networks.map(({ vni, peers }) => ({
      groupUid,
      vni,
      addresses: [vni, ...peers.map((peer) => peer.vni)].flatMap((number) => byNetwork.get(number) ?? []),
    })),
  );
};

const guestsOf = ({ machines, arriving = [] }: NetworkFacts, uids: GroupUids): readonly GuestFilter[] =>
  [...machines, ...arriving].flatMap(({ machine, allocation }) =>
    allocation.interfaces.map((nic) => ({
      vmUid: machine.metadata.uid,
      namespace: machine.metadata.namespace ?? "",
      name: machine.metadata.name,
      tap: tapName(machine.metadata.uid, nic.network),
      vni: nic.vni,
      macAddress: nic.macAddress,
      address: nic.address,
      allowedAddresses: nic.allowedAddresses,
      gateway: nic.gateway,
      // A group that does not exist allows nothing.
      securityGroups: groupNamesOf(machine.spec.securityGroups).flatMap(
        (name) => uids.get(groupKey(machine.metadata.namespace ?? "", name)) ?? [],
      ),
    })),
  );

/** Those that have a claim to a floating address here wait for it by its own rules. */
const newcomersOf = ({ newcomers = [], floatingGuests }: NetworkFacts): DesiredFilters["newcomers"] =>
  newcomers
    .flatMap(({ allocation }) => allocation.interfaces)
    .map(({ vni, address }) => ({ vni, address }))
    .filter((one) => !floatingGuests.some(({ vni, address }) => vni === one.vni && address === one.address));

/**
 * The rules of all guests of this node. They follow from the objects alone, so
 * that a fresh agent never takes away the rules of a guest that it has not
 * looked at yet.
 */
export const desiredFilters = (facts: NetworkFacts): DesiredFilters => {
  const uids = new Map(
    facts.groups.map(({ metadata }) => [groupKey(metadata.namespace ?? "", metadata.name), metadata.uid]),
  );
  const guests = guestsOf(facts, uids);
  const used = new Set(guests.flatMap(({ securityGroups }) => securityGroups));
  const groups = facts.groups
    .filter(({ metadata }) => used.has(metadata.uid))
    .map((group) => groupOf(group, uids));
  const local = localNumbers(facts);
  const addresses = placedAddresses(facts);
  const networks = wantedNetworks(facts, addresses);
  const localNetworks = networks.filter(({ vni }) => local.has(vni));
  return {
    guests,
    networks: networks.map(({ vni, cidr, egress, peers }) => ({
      vni,
      cidr,
      egress,
      peers,
      egressExceptions: facts.floatingGuests.flatMap((one) => (one.vni === vni ? [one.address] : [])),
    })),
    newcomers: newcomersOf(facts),
    groups,
    members: membersOf(new Set(groups.flatMap(remoteGroups)), localNetworks, addresses, uids),
    nodeAddresses: allNodeAddresses(facts),
    tunnelAddress: facts.tunnelAddress,
    vxlanPort: facts.vxlanPort,
  };
};
