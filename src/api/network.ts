import { z } from "zod";
import { conditions } from "./condition.ts";
import { ipv4Address, ipv4Cidr, observedGeneration, rules } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

export const DEFAULT_MTU = 1450;

const spec = z
  .object({
    cidr: ipv4Cidr
      .describe("Addresses of this network in CIDR notation, for example 10.0.0.0/24. Prefix length 8 to 30.")
      .meta(
        rules({
          rule: "isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 30 && cidr(self) == cidr(self).masked()",
          message:
            "cidr must be an IPv4 network such as 10.0.0.0/24, with no host bits set and a prefix length of 8 to 30",
        }),
      ),
    gateway: ipv4Address
      .optional()
      .describe(
        "Address of the router that every node offers to its guests. Default: the first address of cidr.",
      ),
    dnsServers: z
      .array(ipv4Address)
      .max(3)
      .default([])
      .describe("Name servers that guests are told to use.")
      .meta({ "x-kubernetes-list-type": "set" }),
    mtu: z
      .int()
      .min(576)
      .max(9000)
      .default(DEFAULT_MTU)
      .describe(
        "Largest packet of the network in bytes. The default leaves room for VXLAN on an Ethernet of 1500.",
      ),
    reservedAddresses: z
      .array(ipv4Address)
      .max(64)
      .default([])
      .describe("Addresses that are never given to a machine.")
      .meta({ "x-kubernetes-list-type": "set" }),
  })
  .describe("What the network is. cidr and gateway cannot be changed.")
  .meta(
    rules(
      {
        rule: "self.cidr == oldSelf.cidr && has(self.gateway) == has(oldSelf.gateway) && (!has(self.gateway) || self.gateway == oldSelf.gateway)",
        message: "cidr and gateway cannot be changed; make another network",
      },
      {
        rule: "!has(self.gateway) || !isIP(self.gateway) || !isCIDR(self.cidr) || cidr(self.cidr).containsIP(self.gateway)",
        message: "gateway must be inside cidr",
      },
    ),
  );

const status = z.object({
  observedGeneration,
  conditions,
  gateway: ipv4Address.optional().describe("Address of the router that guests use."),
  addresses: z
    .object({
      capacity: z.int().min(0).describe("Addresses that machines can have in all."),
      allocated: z.int().min(0).describe("Addresses that machines have now."),
    })
    .optional()
    .describe("How full the network is."),
});

export const networks = defineKind({
  kind: "Network",
  plural: "networks",
  singular: "network",
  shortNames: ["vnet"],
  scope: "Cluster",
  description:
    "A routed network for virtual machines. Machines get an address of it for their whole life and reach their gateway on the node itself; there is no layer 2 between machines.",
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
