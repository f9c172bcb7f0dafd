import { z } from "zod";
import { conditions } from "./condition.ts";
import { ipv4Cidr, ipv4Address, observedGeneration, rules } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

/** Keeps a pool until no FloatingIP has an address of it. */
export const FLOATING_IP_POOL_FINALIZER = "vireo.dev/floating-ip-pool";

const addressCount = z
  .int()
  .min(0)
  .max(2 ** 20);

const spec = z
  .object({
    cidrs: z
      .array(
        ipv4Cidr.meta(
          rules({
            rule: "!isCIDR(self) || (cidr(self).prefixLength() >= 16 && cidr(self) == cidr(self).masked() && cidr(self).ip().isGlobalUnicast())",
            message:
              "must have no host bits set, a prefix length of 16 to 32, and no loopback, link-local or multicast addresses",
          }),
        ),
      )
      .min(1)
      .max(16)
      .describe(
        "Blocks of addresses to give out, for example 203.0.113.64/28 or 203.0.113.7/32. All of their addresses are given out, the first and the last too.",
      )
      .meta({ "x-kubernetes-list-type": "set" }),
    exclude: z
      .array(ipv4Address)
      .max(64)
      .default([])
      .describe("Addresses of cidrs that are not given out, because something else has them.")
      .meta({ "x-kubernetes-list-type": "set" }),
  })
  .describe(
    "Which addresses there are. Every node must be in the network that they belong to: it answers ARP for them.",
  );

const status = z
  .object({
    observedGeneration,
    conditions,
    addresses: z
      .object({
        capacity: addressCount.describe("Addresses that there are."),
        allocated: addressCount.describe("Addresses that FloatingIPs hold now."),
      })
      .optional()
      .describe("How full the pool is."),
  })
  .describe("Whether addresses can be taken from the pool, and how full it is.");

export const floatingIpPools = defineKind({
  kind: "FloatingIPPool",
  plural: "floatingippools",
  singular: "floatingippool",
  shortNames: ["fippool"],
  scope: "Cluster",
  description: "Addresses of the network outside that FloatingIPs of all namespaces take theirs from.",
  spec,
  status,
  columns: [
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
      description: "Whether addresses can be taken from it",
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type FloatingIpPool = ObjectOf<typeof floatingIpPools>;
