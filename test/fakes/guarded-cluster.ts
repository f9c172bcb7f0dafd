import type { DesiredFilters, FilterRule } from "../../src/node-agent/filters/types.ts";
import { type NodeNetworks, tapName } from "../../src/node-agent/links/index.ts";
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
  /** Whether nodes, and what is behind them, have a way to its guests. Default: no. */
  readonly reachableFromNodes?: boolean;
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

const addressesOf = ({ address, allowedAddresses = [] }: GuardedGuest): readonly string[] => [
  address,
  ...allowedAddresses,
];

const guestsSeenFrom = (cluster: GuardedCluster, vni: number): readonly GuardedGuest[] => {
  const seen = new Set([vni, ...(cluster.networks.find((network) => network.vni === vni)?.routesTo ?? [])]);
  return cluster.guests.filter((guest) => seen.has(guest.vni));
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
      addresses: guestsSeenFrom(cluster, vni)
        .filter(({ groups }) => groups.includes(name))
        .flatMap(addressesOf),
    })),
  ),
  nodeAddresses: cluster.nodes,
  tunnelAddress: cluster.nodes[node],
  vxlanPort: 14_789,
});

/** What the agent of one node would tell its links. */
export const routesOn = (cluster: GuardedCluster, node: number): NodeNetworks => ({
  tunnelAddress: cluster.nodes[node] ?? "",
  vxlanPort: 14_789,
  nodes: cluster.nodes.filter((_address, index) => index !== node),
  networks: cluster.networks.map(({ vni, cidr, routesTo, reachableFromNodes = false }) => ({
    vni,
    cidr,
    mtu: 1450,
    reachableFromNodes,
    peers: routesTo,
    remote: cluster.guests
      .filter((guest) => guest.vni === vni && guest.node !== node)
      .flatMap((guest) =>
        addressesOf(guest).map((address) => ({ address, nodeAddress: cluster.nodes[guest.node] ?? "" })),
      ),
  })),
});
