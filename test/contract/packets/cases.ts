import type { GuardedCluster } from "../../fakes/guarded-cluster.ts";
import type { Attempt } from "../../fakes/reach-oracle.ts";
import { ANYTHING, baseline, tcp as tcpRule, withGroups, withoutRoutes, withRules } from "./cluster.ts";
import type { Probe } from "./world.ts";

/** Who may reach whom: sentences, probes, and what is to come of them. */
export interface Case extends Probe {
  readonly name: string;
  readonly arrives: boolean;
}

export interface Phase {
  readonly name: string;
  readonly cluster: GuardedCluster;
  readonly cases: readonly Case[];
}

const tcp = (port: number): Attempt => ({ protocol: "tcp", port });
const udp = (port: number): Attempt => ({ protocol: "udp", port });
const echo: Attempt = { protocol: "echo" };
const gre: Attempt = { protocol: "other", number: 47 };
const nobodys: Attempt = { protocol: "other", number: 99 };

type Route = readonly [from: string, to: string];

const yes = (name: string, [from, to]: Route, attempt: Attempt, more: Partial<Probe> = {}): Case => ({
  name,
  from,
  to,
  attempt,
  arrives: true,
  ...more,
});
const no = (name: string, route: Route, attempt: Attempt, more: Partial<Probe> = {}): Case => ({
  ...yes(name, route, attempt, more),
  arrives: false,
});

const byPort: readonly Case[] = [
  yes("tcp to an open port on the same node", ["plain-0", "web-0"], tcp(80)),
  yes("tcp to an open port on another node", ["plain-0", "web-1"], tcp(80)),
  yes("tcp to an open port from outside", ["outside", "web-0"], tcp(80)),
  yes("tcp to an open port from outside, on another node", ["outside", "web-1"], tcp(80)),
  yes("tcp to an open port from another node than both", ["plain-2", "web-1"], tcp(80)),
  no("tcp to a port that no rule names, on the same node", ["plain-0", "web-0"], tcp(8080)),
  no("tcp to a port that no rule names, on another node", ["plain-0", "web-1"], tcp(8080)),
  no("tcp to a port that no rule names, from outside", ["outside", "web-0"], tcp(8080)),
  no("udp to the port that is open for tcp", ["plain-0", "web-0"], udp(80)),
  no("udp to the port that is open for tcp, on another node", ["plain-0", "web-1"], udp(80)),
  yes("udp to the first port of a range", ["outside", "web-0"], udp(1000)),
  yes("udp to the last port of a range", ["outside", "web-1"], udp(1002)),
  no("udp to the port after a range", ["outside", "web-0"], udp(1003)),
  no("tcp to a port of a range for udp", ["outside", "web-0"], tcp(1001)),
  yes("an echo that is allowed, on the same node", ["plain-0", "web-0"], echo),
  yes("an echo that is allowed, on another node", ["plain-0", "web-1"], echo),
  yes("an echo that is allowed, from outside", ["outside", "web-1"], echo),
  no("an echo that is not allowed, on the same node", ["web-0", "db-0"], echo),
  no("an echo that is not allowed, on another node", ["web-0", "db-1"], echo),
  no("an echo that is not allowed, from outside", ["outside", "db-1"], echo),
  no("a protocol that no rule names, on the same node", ["web-0", "db-0"], nobodys),
  no("a protocol that no rule names, on another node", ["web-0", "db-1"], nobodys),
];

const bySender: readonly Case[] = [
  yes("from a member of the group, on the same node", ["web-0", "db-0"], tcp(5432)),
  yes("from a member of the group, on another node", ["web-0", "db-1"], tcp(5432)),
  no("from no member of the group, on the same node", ["plain-0", "db-0"], tcp(5432)),
  no("from no member of the group, on another node", ["plain-0", "db-1"], tcp(5432)),
  no("from outside to what is open for a group", ["outside", "db-0"], tcp(5432)),
  yes("another protocol from a member, on the same node", ["web-0", "db-0"], gre),
  yes("another protocol from a member, on another node", ["web-0", "db-1"], gre),
  no("another protocol from no member", ["plain-0", "db-1"], gre),
  yes("from a block that is allowed, on the same node", ["plain-0", "web-0"], tcp(22)),
  yes("from a block that is allowed, on another node", ["plain-0", "db-1"], tcp(22)),
  no("from an exception of a block, on another node", ["plain-1", "web-0"], tcp(22)),
  no("from an exception of a block, on the same node", ["plain-1", "db-1"], tcp(22)),
  no("from an exception outside", ["outside", "web-0"], tcp(22)),
  no("from a block that no rule names", ["outside", "web-0"], tcp(22), { source: "10.99.0.254" }),
  no("to a port range for one address, from another", ["outside", "web-0"], udp(1000), {
    source: "10.99.0.254",
  }),
  yes("within the default group, on the same node", ["plain-0", "plain-1"], tcp(8080)),
  yes("within the default group, on another node", ["plain-0", "plain-2"], udp(8080)),
  yes("any protocol within the default group", ["plain-0", "plain-1"], nobodys),
  yes("an echo within the default group", ["plain-2", "plain-1"], echo),
  no("from outside to the default group", ["outside", "plain-0"], tcp(22)),
  no("an echo from outside to the default group", ["outside", "plain-0"], echo),
  no("from another group to the default group, on the same node", ["web-0", "plain-0"], tcp(22)),
  no("from another group to the default group, on another node", ["web-0", "plain-1"], udp(1000)),
];

const byEgress: readonly Case[] = [
  yes("to the world, from a group that lets everything out", ["plain-0", "outside"], tcp(80)),
  yes("udp to the world", ["plain-1", "outside"], udp(53)),
  yes("an echo to the world", ["plain-2", "outside"], echo),
  yes("another protocol to the world", ["plain-0", "outside"], nobodys),
  no("to the world, from a group that lets little out", ["db-0", "outside"], tcp(80)),
  yes("what a group lets out, to the world", ["db-0", "outside"], udp(53)),
  yes("an echo that a group lets out", ["db-0", "web-0"], echo),
  no("to an open port, from a group that does not let it out, on the same node", ["db-0", "web-0"], tcp(80)),
  no("to an open port, from a group that does not let it out, on another node", ["db-0", "web-1"], tcp(80)),
  yes("to an open port, as one of two groups lets it out", ["db-1", "web-0"], tcp(80)),
];

const byNetwork: readonly Case[] = [
  yes("to a Network that is routed to, on the same node", ["plain-0", "red-0"], tcp(8080)),
  yes("to a Network that is routed to, on another node", ["plain-1", "red-0"], udp(8080)),
  yes("from a Network that is routed to, to an open port", ["red-0", "web-1"], tcp(80)),
  no("from a Network that is routed to, to a closed port", ["red-0", "web-1"], tcp(8080)),
  yes("an echo between Networks, over two nodes", ["red-0", "red-2"], echo),
  yes("a member in a Network that is routed to", ["red-2", "db-0"], tcp(5432)),
  yes("within a Network with the same addresses, on another node", ["green-0", "green-1"], tcp(8080)),
  yes("an echo within a Network with the same addresses", ["green-1", "green-2"], echo),
  no("to an address that only the other Network has", ["green-0", "db-0"], tcp(5432)),
  no("to an address that only the other Network has, on another node", ["green-0", "web-1"], tcp(80)),
  no("to an address that only the other has, the other way", ["plain-0", "green-2"], tcp(80)),
  no("to a Network that is not routed to", ["green-0", "red-0"], echo),
  no("to a Network that is not routed to, on the same node", ["plain-0", "grey-0"], tcp(80)),
  no("to a Network that is not routed to, on another node", ["plain-0", "grey-1"], tcp(80)),
  yes("within a Network without a way out", ["grey-0", "grey-1"], tcp(80)),
  no("to the world, out of a Network without a way out", ["grey-0", "outside"], tcp(80)),
  no("an echo to the world, out of a Network without a way out", ["grey-1", "outside"], echo),
];

const nodesAndOthers: readonly Case[] = [
  no("a service of its own node", ["plain-0", "node-1"], tcp(22)),
  no("a service of another node", ["plain-0", "node-2"], tcp(22)),
  no("udp to its own node", ["plain-0", "node-1"], udp(53)),
  no("udp to another node", ["plain-0", "node-3"], udp(53)),
  no("an echo to its own node's address", ["plain-0", "node-1"], echo),
  no("an echo to another node's address", ["plain-0", "node-2"], echo),
  yes("an echo to its gateway", ["plain-0", "node-1"], echo, { address: "10.0.0.1" }),
  yes("an echo to the gateway of a Network with the same addresses", ["green-0", "node-1"], echo, {
    address: "10.0.0.1",
  }),
  no("a service at its gateway's address", ["plain-0", "node-1"], tcp(80), { address: "10.0.0.1" }),
  no("udp to its gateway", ["plain-0", "node-1"], udp(53), { address: "10.0.0.1" }),
  no("a cloud's metadata", ["plain-0", "outside"], tcp(80), { address: "169.254.169.254" }),
  no("a cloud's metadata, on the node", ["plain-0", "node-1"], tcp(80), { address: "169.254.169.254" }),
  yes("from the guest's own node, whatever the rules say", ["node-1", "db-0"], tcp(22)),
  no("from another node to a port that no rule names", ["node-1", "web-1"], tcp(8080)),
  yes("from another node to an open port", ["node-1", "web-1"], tcp(80)),
  yes("the world to a node, as before", ["outside", "node-1"], tcp(22), { source: "10.99.0.254" }),
];

/** Each phase changes the cluster under the guests. */
export const phases: readonly Phase[] = [
  {
    name: "at first",
    cluster: baseline,
    cases: [...byPort, ...bySender, ...byEgress, ...byNetwork, ...nodesAndOthers],
  },
  {
    name: "after a rule is taken away and another is made",
    cluster: withRules(baseline, "web", { ingress: [tcpRule(8080)] }),
    cases: [
      no("the port that was open, on the same node", ["plain-0", "web-0"], tcp(80)),
      no("the port that was open, on another node", ["plain-0", "web-1"], tcp(80)),
      no("the port that was open, from outside", ["outside", "web-1"], tcp(80)),
      yes("the port that is open now, on the same node", ["plain-0", "web-0"], tcp(8080)),
      yes("the port that is open now, on another node", ["plain-0", "web-1"], tcp(8080)),
      no("an echo that was allowed", ["plain-0", "web-1"], echo),
      yes("what another group allows still", ["plain-0", "web-0"], tcp(22)),
    ],
  },
  {
    name: "after a guest joins a group that others let in",
    cluster: withGroups(baseline, "plain-0", ["default", "web"]),
    cases: [
      yes("as a new member, on the same node", ["plain-0", "db-0"], tcp(5432)),
      yes("as a new member, on another node", ["plain-0", "db-1"], tcp(5432)),
      yes("to the new member, by its new group", ["outside", "plain-0"], tcp(80)),
      yes("to the new member, by the group that it keeps", ["plain-1", "plain-0"], tcp(8080)),
      no("one that has not joined", ["plain-1", "db-0"], tcp(5432)),
    ],
  },
  {
    name: "after a guest leaves its group",
    cluster: withGroups(baseline, "web-0", ["ops"]),
    cases: [
      no("as a member that was, on the same node", ["web-0", "db-0"], tcp(5432)),
      no("as a member that was, on another node", ["web-0", "db-1"], tcp(5432)),
      no("to the guest, by the group that it left", ["plain-0", "web-0"], tcp(80)),
      yes("to the guest, by the group that it kept", ["plain-0", "web-0"], tcp(22)),
      yes("one that is a member still", ["web-1", "db-0"], tcp(5432)),
    ],
  },
  {
    name: "after a group is closed for what leaves",
    cluster: withRules(baseline, "default", { egress: [tcpRule(80)] }),
    cases: [
      yes("what may leave, to the world", ["plain-0", "outside"], tcp(80)),
      no("what may not leave, to the world", ["plain-0", "outside"], udp(53)),
      no("what may not leave, to the same group on another node", ["plain-0", "plain-1"], tcp(8080)),
      yes("what may leave, to the same group on another node", ["plain-0", "plain-1"], tcp(80)),
    ],
  },
  {
    name: "after the Networks have no way to each other any more",
    cluster: withoutRoutes(baseline),
    cases: [
      no("to the other Network, on the same node", ["plain-0", "red-0"], tcp(8080)),
      no("from the other Network, on another node", ["red-0", "web-1"], tcp(80)),
      no("a member in the other Network", ["red-2", "db-0"], tcp(5432)),
      yes("within each of them", ["plain-0", "plain-1"], tcp(8080)),
    ],
  },
  {
    name: "after a guest is in no group that there is",
    cluster: withGroups(baseline, "plain-0", ["gone"]),
    cases: [
      no("to it", ["plain-1", "plain-0"], tcp(80)),
      no("from it, on the same node", ["plain-0", "web-0"], tcp(80)),
      no("from it, to the world", ["plain-0", "outside"], tcp(80)),
    ],
  },
  {
    name: "after everything is as it was",
    cluster: baseline,
    cases: [...byPort, ...bySender, ...byEgress, ...byNetwork],
  },
];

/** All groups let everything in and out: what is refused now is not refused by groups. */
export const openCluster: GuardedCluster = {
  ...baseline,
  groups: baseline.groups.map(({ name }) => ({ name, ingress: [ANYTHING], egress: [ANYTHING] })),
};

/** Cases that only groups refuse. */
export const refusedByGroups: readonly Case[] = [...byPort, ...bySender, ...byEgress].filter(
  ({ arrives }) => !arrives,
);
