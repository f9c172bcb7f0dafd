import type { FilterRule } from "../../../src/node-agent/filters/types.ts";
import type { GuardedCluster, GuardedGuest } from "../../fakes/guarded-cluster.ts";
import { OUTSIDE_ADDRESS } from "../../testbed/packet-network.ts";

/** The cluster that the tables of cases are about. */

const ANYBODY: FilterRule["remote"] = { kind: "any" };
export const ANYTHING: FilterRule = { protocol: "any", remote: ANYBODY };

const members = (uid: string): FilterRule["remote"] => ({ kind: "group", uid });
const blocks = (cidrs: readonly string[], except: readonly string[] = []): FilterRule["remote"] => ({
  kind: "cidrs",
  cidrs,
  except,
});

export const tcp = (first: number, remote: FilterRule["remote"] = ANYBODY, last = first): FilterRule => ({
  protocol: 6,
  ports: { first, last },
  remote,
});
const udp = (first: number, remote: FilterRule["remote"] = ANYBODY, last = first): FilterRule => ({
  ...tcp(first, remote, last),
  protocol: 17,
});
const echo: FilterRule = { protocol: 1, icmp: { type: 8 }, remote: ANYBODY };

const macAddresses = new Map<string, string>();
const macAddressOf = (name: string): string => {
  const known = macAddresses.get(name);
  if (known !== undefined) return known;
  const made = `02:00:00:00:01:${(macAddresses.size + 16).toString(16)}`;
  macAddresses.set(name, made);
  return made;
};

const guest = (
  name: string,
  place: readonly [vni: number, node: number, address: string],
  groups: readonly string[],
): GuardedGuest => {
  const [vni, node, address] = place;
  return { name, vni, node, address, groups, macAddress: macAddressOf(name) };
};

export const baseline: GuardedCluster = {
  nodes: ["10.99.0.1", "10.99.0.2", "10.99.0.3"],
  networks: [
    { vni: 1, cidr: "10.0.0.0/24", gateway: "10.0.0.1", routesTo: [2], reachableFromNodes: true },
    { vni: 2, cidr: "10.0.1.0/24", gateway: "10.0.1.1", routesTo: [1], reachableFromNodes: true },
    // The addresses of the first, and no way to it.
    { vni: 3, cidr: "10.0.0.0/24", gateway: "10.0.0.1", routesTo: [] },
    { vni: 4, cidr: "10.0.4.0/24", gateway: "10.0.4.1", routesTo: [], egress: "None" },
  ],
  groups: [
    { name: "default", ingress: [{ protocol: "any", remote: members("default") }], egress: [ANYTHING] },
    {
      name: "web",
      ingress: [tcp(80), echo, udp(1000, blocks([`${OUTSIDE_ADDRESS}/32`]), 1002)],
      egress: [ANYTHING],
    },
    {
      name: "ops",
      ingress: [tcp(22, blocks(["10.0.0.0/16", "198.51.100.0/24"], ["10.0.0.32/32", "198.51.100.0/30"]))],
      egress: [ANYTHING],
    },
    {
      name: "db",
      ingress: [tcp(5432, members("web")), { protocol: 47, remote: members("web") }],
      egress: [echo, udp(53)],
    },
  ],
  guests: [
    guest("web-0", [1, 0, "10.0.0.11"], ["web", "ops"]),
    guest("web-1", [1, 1, "10.0.0.12"], ["web"]),
    guest("db-0", [1, 0, "10.0.0.21"], ["db"]),
    guest("db-1", [1, 1, "10.0.0.22"], ["db", "ops"]),
    guest("plain-0", [1, 0, "10.0.0.31"], ["default"]),
    guest("plain-1", [1, 1, "10.0.0.32"], ["default"]),
    guest("plain-2", [1, 2, "10.0.0.33"], ["default"]),
    guest("red-0", [2, 0, "10.0.1.11"], ["default"]),
    guest("red-2", [2, 2, "10.0.1.12"], ["web"]),
    guest("green-0", [3, 0, "10.0.0.11"], ["default"]),
    guest("green-1", [3, 1, "10.0.0.31"], ["default"]),
    guest("green-2", [3, 2, "10.0.0.99"], ["default"]),
    guest("grey-0", [4, 0, "10.0.4.11"], ["default"]),
    guest("grey-1", [4, 1, "10.0.4.12"], ["default"]),
  ],
};

/** The cluster with other rules in one group. */
export const withRules = (
  cluster: GuardedCluster,
  group: string,
  rules: { readonly ingress?: readonly FilterRule[]; readonly egress?: readonly FilterRule[] },
): GuardedCluster => {
  const change = (one: GuardedCluster["groups"][number]) => (one.name === group ? { ...one, ...rules } : one);
  return { ...cluster, groups: cluster.groups.map(change) };
};

/** The cluster with a guest in other groups. */
export const withGroups = (
  cluster: GuardedCluster,
  name: string,
  groups: readonly string[],
): GuardedCluster => {
  const change = (one: GuardedGuest) => (one.name === name ? { ...one, groups } : one);
  return { ...cluster, guests: cluster.guests.map(change) };
};

/** The cluster whose Networks have no way to each other. */
export const withoutRoutes = (cluster: GuardedCluster): GuardedCluster => {
  const change = (one: GuardedCluster["networks"][number]) => ({ ...one, routesTo: [] });
  return { ...cluster, networks: cluster.networks.map(change) };
};
