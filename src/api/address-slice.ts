import { z } from "zod";
import { ipv4Address, objectName, objectUid, rules } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

/** Entries of one slice: what a change of one of them costs, in bytes to each node, is bounded by it. */
export const MAX_SLICE_ENTRIES = 100;

const machine = z.object({
  address: ipv4Address.describe("Address of the machine in the Network."),
  nodeName: objectName.describe("Name of the node that the machine is on."),
  nodeAddress: ipv4Address.describe(
    "Address of that node, to which other nodes send what is for the machine.",
  ),
  namespace: objectName.describe("Namespace of the machine."),
  name: objectName.describe("Name of the machine."),
  uid: objectUid.describe("UID of the machine."),
  securityGroups: z
    .array(objectName)
    .max(16)
    .describe("SecurityGroups of the machine's namespace that it is in.")
    .meta({ "x-kubernetes-list-type": "set" }),
});

const node = z.object({
  name: objectName.describe("Name of the node."),
  addresses: z
    .array(ipv4Address)
    .max(16)
    .describe("Addresses of the node, which guests may not reach. The first one ends its tunnels.")
    .meta({ "x-kubernetes-list-type": "atomic" }),
});

const spec = z
  .object({
    network: objectName.optional().describe("Name of the Network that the machines' addresses are of."),
    machines: z
      .array(machine)
      .max(MAX_SLICE_ENTRIES)
      .optional()
      .describe("Machines that have an address of the Network. At most 100.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["address"] }),
    nodes: z
      .array(node)
      .max(MAX_SLICE_ENTRIES)
      .optional()
      .describe("Nodes of the cluster. At most 100.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
  })
  .describe("Which addresses are where. The controller writes it.")
  .meta(
    rules(
      { rule: "has(self.network) == has(self.machines)", message: "network and machines go together" },
      {
        rule: "has(self.machines) != has(self.nodes)",
        message: "exactly one of machines and nodes must be set",
      },
    ),
  );

const status = z.object({}).describe("Not used.");

export const addressSlices = defineKind({
  kind: "AddressSlice",
  plural: "addressslices",
  singular: "addressslice",
  shortNames: [],
  scope: "Cluster",
  description:
    "For Vireo itself: a part of the list of machines of a Network, or of nodes, with their addresses. Node agents make routes and the membership of security groups from it. As with EndpointSlice, many small lists keep the cost of one change small.",
  spec,
  status,
  columns: [
    { name: "NETWORK", type: "string", jsonPath: ".spec.network", description: "Network of the machines" },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type AddressSlice = ObjectOf<typeof addressSlices>;
export type MachineAddress = NonNullable<AddressSlice["spec"]["machines"]>[number];
export type NodeAddresses = NonNullable<AddressSlice["spec"]["nodes"]>[number];
