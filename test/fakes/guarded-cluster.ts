import type { DesiredFilters, FilterRule } from "../../src/node-agent/filters/types.ts";
import { tapName } from "../../src/node-agent/links/index.ts";
import { guestUid } from "../testbed/packet-network.ts";

/** Guests, their groups and their Networks, as a user thinks of them: for tests of who may reach whom. */
export interface GuardedCluster {
  readonly networks: readonly GuardedNetwork[];
  readonly guests: readonly GuardedGuest[];
  readonly groups: readonly GuardedGroup[];
  /** Addresses of the nodes, in their order. */
  readonly nodes: readonly string[];
}

export interface GuardedNetwork {
  readonly vni: number;
  readonly cidr: string;
  readonly gateway: string;
  /** Numbers of the Networks that it routes to; both sides say so. */
  readonly routesTo: readonly number[];
  /** Default NAT. */
  readonly egress?: "NAT" | "None";
}

export interface GuardedGuest {
  readonly name: string;
  readonly vni: number;
  readonly address: string;
  readonly macAddress: string;
  /** Place of its node among the nodes. */
  readonly node: number;
  readonly groups: readonly string[];
  readonly allowedAddresses?: readonly string[];
}

export interface GuardedGroup {
  readonly name: string;
  readonly ingress: readonly FilterRule[];
  readonly egress: readonly FilterRule[];
}

const hasMembersSeenFrom = (cluster: GuardedCluster, vni: number): readonly GuardedGuest[] => {
  const seen = [vni, ...(cluster.networks.find((network) => network.vni === vni)?.routesTo ?? [])];
  return cluster.guests.filter((guest) => seen.includes(guest.vni));
};

/** What the agent of one node would tell its filter. */
export const desiredOn = (cluster: GuardedCluster, node: number): DesiredFilters => ({
  guests: cluster.guests
    .filter((guest) => guest.node === node)
    .map(({ name, vni, address, macAddress, groups, allowedAddresses = [] }) => ({
      vmUid: guestUid(name),
      namespace: "tests",
      name,
      tap: tapName(guestUid(name), `network-${vni}`),
      vni,
      macAddress,
      address,
      allowedAddresses,
      gateway: cluster.networks.find((network) => network.vni === vni)?.gateway ?? "",
      securityGroups: groups,
    })),
  networks: cluster.networks.map(({ vni, cidr, routesTo, egress = "NAT" }) => ({
    vni,
    cidr,
    egress,
    peers: cluster.networks
      .filter((network) => routesTo.includes(network.vni))
      .map((network) => ({ vni: network.vni, cidr: network.cidr })),
  })),
  groups: cluster.groups.map(({ name, ingress, egress }) => ({
    uid: name,
    ingress,
    egress,
    logRefused: false,
  })),
  members: cluster.groups.flatMap(({ name }) =>
    cluster.networks.map(({ vni }) => ({
      groupUid: name,
      vni,
      addresses: hasMembersSeenFrom(cluster, vni)
        .filter(({ groups }) => groups.includes(name))
        .flatMap(({ address, allowedAddresses = [] }) => [address, ...allowedAddresses]),
    })),
  ),
  nodeAddresses: cluster.nodes,
  tunnelAddress: cluster.nodes[node],
  vxlanPort: 14_789,
});
