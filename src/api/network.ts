import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  ipv4Address,
  ipv4Cidr,
  objectName,
  observedGeneration,
  rules,
  unchangeableMember,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { MAX_VNI } from "./network-identity.ts";

export const DEFAULT_MTU = 1450;

export const egressPolicies = ["NAT", "None"] as const;

const spec = z
  .object({
    cidr: ipv4Cidr
      .describe(
        "Addresses of the network in CIDR notation, for example 10.0.0.0/24. The prefix length is 8 to 30.",
      )
      .meta(
        rules(
          {
            rule: "!isCIDR(self) || (cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 30 && cidr(self) == cidr(self).masked())",
            message: "must have no host bits set, and a prefix length of 8 to 30",
          },
          {
            rule: "!isCIDR(self) || (cidr(self).ip().isGlobalUnicast() && !cidr(self).containsCIDR('169.254.0.0/16'))",
            message: "must not contain loopback, link-local or multicast addresses",
          },
        ),
      ),
    gateway: ipv4Address
      .optional()
      .describe(
        "Address of the guests' router, which every node is for its own guests. Default: the first address of cidr that a host can have, such as 10.0.0.1.",
      ),
    dnsServers: z
      .array(ipv4Address)
      .max(3)
      .default([])
      .describe("Name servers that guests are told to use, in this order. At most three.")
      .meta({ "x-kubernetes-list-type": "atomic" }),
    mtu: z
      .int()
      .min(576)
      .max(9000)
      .default(DEFAULT_MTU)
      .describe(
        "Largest packet of the network in bytes. 1450 leaves room for VXLAN where the nodes' network has 1500.",
      ),
    reservedAddresses: z
      .array(ipv4Address)
      .max(64)
      .default([])
      .describe("Addresses of cidr that are never given to a machine.")
      .meta({ "x-kubernetes-list-type": "set" }),
    egress: z
      .enum(egressPolicies)
      .default("NAT")
      .describe(
        "How machines reach what is outside of the network. NAT: with the address of their node, or their floating address. None: not at all, unless they have a floating address.",
      ),
    reachableFromNodes: z
      .boolean()
      .default(true)
      .describe(
        "Whether nodes and pods have a route to the machines; security groups decide what may pass. Networks whose addresses overlap can only have it one at a time.",
      ),
    routesTo: z
      .array(objectName)
      .max(16)
      .default([])
      .describe(
        "Names of Networks that machines of this one may reach and be reached from, without translation. Both Networks must name each other, and their addresses must not overlap.",
      )
      .meta({ "x-kubernetes-list-type": "set" }),
  })
  .describe("What the network is. Its cidr and gateway cannot be changed.")
  .meta(
    rules(
      ...["cidr", "gateway"].map((member) =>
        unchangeableMember(member, `${member} cannot be changed; make another network`),
      ),
      {
        rule: "!has(self.gateway) || !isIP(self.gateway) || !isCIDR(self.cidr) || (cidr(self.cidr).containsIP(self.gateway) && !self.cidr.startsWith(self.gateway + '/'))",
        message: "gateway must be an address of cidr that a host can have",
        fieldPath: ".gateway",
      },
      {
        rule: "!isCIDR(self.cidr) || self.reservedAddresses.all(address, !isIP(address) || cidr(self.cidr).containsIP(address))",
        message: "every reserved address must be inside cidr",
        fieldPath: ".reservedAddresses",
      },
    ),
  );

/** As many as a prefix of 8 bits has. */
const addressCount = z
  .int()
  .min(0)
  .max(2 ** 24);

const status = z
  .object({
    observedGeneration,
    conditions,
    gateway: ipv4Address
      .optional()
      .describe("Address of the guests' router: the one of spec, or the one that was chosen."),
    vni: z
      .int()
      .min(1)
      .max(MAX_VNI)
      .optional()
      .describe(
        "Number of the network between nodes (VXLAN network identifier). It stays the same until the Network is deleted.",
      ),
    addresses: z
      .object({
        capacity: addressCount.describe("Addresses that there are for machines."),
        allocated: addressCount.describe("Addresses that machines hold now."),
      })
      .optional()
      .describe("How full the network is."),
  })
  .describe("Whether machines may use the network, and how full it is.");

export const networks = defineKind({
  kind: "Network",
  plural: "networks",
  singular: "network",
  shortNames: ["vnet"],
  scope: "Cluster",
  description:
    "A routed network for virtual machines. A machine has an address of it for its whole life, and the node that it runs on is its router. Machines reach each other by IP; there is no Ethernet between them.",
  spec,
  status,
  columns: [
    { name: "CIDR", type: "string", jsonPath: ".spec.cidr", description: "Addresses" },
    { name: "GATEWAY", type: "string", jsonPath: ".status.gateway", description: "Router", priority: 1 },
    {
      name: "ALLOCATED",
      type: "integer",
      jsonPath: ".status.addresses.allocated",
      description: "Addresses in use",
    },
    {
      name: "CAPACITY",
      type: "integer",
      jsonPath: ".status.addresses.capacity",
      description: "Addresses in all",
    },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether machines may use it",
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type Network = ObjectOf<typeof networks>;
