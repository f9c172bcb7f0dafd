import ipaddr from "ipaddr.js";

import type { FilterRule } from "../../src/node-agent/filters/types.ts";
import type { GuardedCluster, GuardedGuest } from "./guarded-cluster.ts";

/** Who may reach whom, decided from what a user wrote, in the slowest and plainest way. */

/** What is tried. */
export type Attempt =
  | { readonly protocol: "tcp" | "udp"; readonly port: number }
  | { readonly protocol: "echo" }
  | { readonly protocol: "other"; readonly number: number };

/** A guest, or an address that is in no Network. */
export type Party = GuardedGuest | { readonly outside: string };

const numbers = { tcp: 6, udp: 17, echo: 1 } as const;

const isOutside = (party: Party): party is { readonly outside: string } => "outside" in party;
const addressOf = (party: Party): string => (isOutside(party) ? party.outside : party.address);

const isWithin = (address: string, cidr: string): boolean =>
  ipaddr.IPv4.parse(address).match(ipaddr.IPv4.parseCIDR(cidr));

const isTheRemote = ({ remote }: FilterRule, party: Party): boolean => {
  if (remote.kind === "any") return true;
  if (remote.kind === "group") return !isOutside(party) && party.groups.includes(remote.uid);
  const inside = (cidrs: readonly string[]): boolean =>
    cidrs.some((cidr) => isWithin(addressOf(party), cidr));
  return inside(remote.cidrs) && !inside(remote.except);
};

const isWhatIsTried = (rule: FilterRule, attempt: Attempt): boolean => {
  const number = attempt.protocol === "other" ? attempt.number : numbers[attempt.protocol];
  if (rule.protocol !== "any" && rule.protocol !== number) return false;
  if (rule.ports !== undefined) {
    if (attempt.protocol !== "tcp" && attempt.protocol !== "udp") return false;
    if (attempt.port < rule.ports.first || attempt.port > rule.ports.last) return false;
  }
  if (rule.icmp === undefined) return true;
  return attempt.protocol === "echo" && rule.icmp.type === 8 && (rule.icmp.code ?? 0) === 0;
};

const isAllowedBy = (
  cluster: GuardedCluster,
  guest: GuardedGuest,
  direction: "ingress" | "egress",
  other: Party,
  attempt: Attempt,
): boolean => {
  for (const { name, [direction]: rules } of cluster.groups) {
    if (!guest.groups.includes(name)) continue;
    for (const rule of rules) if (isWhatIsTried(rule, attempt) && isTheRemote(rule, other)) return true;
  }
  return false;
};

const networksMeet = (cluster: GuardedCluster, from: GuardedGuest, to: GuardedGuest): boolean =>
  from.vni === to.vni ||
  cluster.networks.some(({ vni, routesTo }) => vni === from.vni && routesTo.includes(to.vni));

/** Whether the first packet of an attempt arrives. */
export const mayReach = (cluster: GuardedCluster, from: Party, to: Party, attempt: Attempt): boolean => {
  if (!isOutside(from)) {
    if (cluster.nodes.includes(addressOf(to)) || isWithin(addressOf(to), "169.254.0.0/16")) return false;
    if (isOutside(to) && cluster.networks.some(({ vni, egress }) => vni === from.vni && egress === "None"))
      return false;
    if (!isAllowedBy(cluster, from, "egress", to, attempt)) return false;
  }
  if (isOutside(to)) return true;
  if (!isOutside(from) && !networksMeet(cluster, from, to)) return false;
  return isAllowedBy(cluster, to, "ingress", from, attempt);
};
