import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  ipv4Address,
  labelSelector,
  objectName,
  objectUid,
  observedGeneration,
  rules,
  timestamp,
  unchangeableMember,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { MAX_VNI } from "./network-identity.ts";

export const failbackPolicies = ["Never", "Prefer"] as const;
export type FailbackPolicy = (typeof failbackPolicies)[number];

/** Keeps a FloatingIP until no node answers for its address any more. */
export const FLOATING_IP_FINALIZER = "vireo.dev/floating-ip";

/**
 * Times of the protocol that keeps two nodes from answering for one address;
 * docs/design/floating.md has the argument that uses them.
 */
/** The node's agent renews its Lease floating-NODE this often, in ms. */
export const FLOATING_RENEW_MS = 1_000;
/** An address stays on a node's interface at most this long after the last renewal was begun, in s; the kernel counts. */
export const FLOATING_VALID_SECONDS = 3;
/** The kernel may remove an address later than it should, by at most this, in ms. */
export const FLOATING_KERNEL_LATENESS_MS = 1_250;
/** The controller takes an address from a silent node this long after the last renewal that it saw, in ms. */
export const FLOATING_FENCED_AFTER_MS = 4_500;

/** Name of the Lease in vireo-system by which a node holds its floating addresses. */
export const floatingLeaseName = (nodeName: string): string => `floating-${nodeName}`;

const spec = z
  .object({
    pool: objectName.describe("Name of the FloatingIPPool that the address is taken from."),
    address: ipv4Address
      .optional()
      .describe("The address that is wanted. Default: any free one of the pool. It cannot be changed."),
    targets: z
      .array(objectName)
      .min(1)
      .max(16)
      .optional()
      .describe(
        "Names of VirtualMachines in this namespace. The first one that is healthy has the address, see failback.",
      )
      .meta({ "x-kubernetes-list-type": "atomic" }),
    selector: labelSelector
      .optional()
      .describe(
        "Labels of VirtualMachines in this namespace, in place of targets. Of those that are healthy the first by name has the address.",
      ),
    failback: z
      .enum(failbackPolicies)
      .default("Never")
      .describe(
        "Never: the address moves only when the machine that has it is no longer healthy. Prefer: it moves back to an earlier target as soon as that is healthy again.",
      ),
  })
  .describe("Which address is wanted, and for which machines.")
  .meta(
    rules(
      {
        rule: "has(self.targets) != has(self.selector)",
        message: "exactly one of targets and selector must be set",
      },
      ...["pool", "address"].map((member) =>
        unchangeableMember(member, `${member} cannot be changed; make another FloatingIP`),
      ),
    ),
  );

const claim = z.object({
  machine: objectName.describe("Name of the machine."),
  machineUid: objectUid.describe("UID of the machine."),
  nodeName: objectName.describe("Name of the node that the machine is on."),
  address: ipv4Address.describe("The machine's own address, which the floating one is translated to."),
  vni: z.int().min(1).max(MAX_VNI).describe("Number of the Network that this address is of."),
});

const holder = z.object({
  nodeName: objectName.describe("Name of the node."),
  since: timestamp.describe("When the node began to answer for the address."),
});

const status = z
  .object({
    observedGeneration,
    conditions,
    address: ipv4Address
      .optional()
      .describe("The address; it stays the same until the FloatingIP is deleted."),
    claim: claim
      .optional()
      .describe("The machine that is to have the address. Absent while no target is healthy."),
    holder: holder
      .optional()
      .describe(
        "The node that answers for the address. While it differs from that of the claim, the address is on its way.",
      ),
    failovers: z
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .optional()
      .describe("How often the address was taken from one machine and given to another."),
  })
  .describe("Where the address is.");

export const floatingIps = defineKind({
  kind: "FloatingIP",
  plural: "floatingips",
  singular: "floatingip",
  shortNames: ["fip"],
  scope: "Namespaced",
  description:
    "An address of the network outside that reaches a machine, and that moves to another one by itself when that machine stops, fails its health, or its node dies. What the machine sends to the outside comes from this address too.",
  spec,
  status,
  selectableFields: [".status.claim.nodeName", ".status.holder.nodeName"],
  columns: [
    { name: "ADDRESS", type: "string", jsonPath: ".status.address", description: "The address" },
    {
      name: "TARGET",
      type: "string",
      jsonPath: ".status.claim.machine",
      description: "Machine that has the address",
    },
    {
      name: "NODE",
      type: "string",
      jsonPath: ".status.holder.nodeName",
      description: "Node that answers for it",
    },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether the address reaches a machine",
    },
    { name: "POOL", type: "string", jsonPath: ".spec.pool", description: "Pool", priority: 1 },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type FloatingIp = ObjectOf<typeof floatingIps>;
export type FloatingIpClaim = NonNullable<NonNullable<FloatingIp["status"]>["claim"]>;
