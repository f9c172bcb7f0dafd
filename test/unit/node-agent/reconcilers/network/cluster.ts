import {
  addressSlices,
  type AddressSlice,
  type MachineAddress,
} from "../../../../../src/api/address-slice.ts";
import { networks, type Network } from "../../../../../src/api/network.ts";
import { securityGroups, type SecurityGroup } from "../../../../../src/api/security-group.ts";
import type { VirtualMachine } from "../../../../../src/api/virtual-machine.ts";
import type { NetworkFacts } from "../../../../../src/node-agent/reconcilers/network/cluster-network.ts";
import { placed } from "../../../../../src/node-agent/desired.ts";
import { machineWith } from "../../machines.ts";

/** Objects of a cluster, as short as a test can say them. */

export const uidOf = (name: string): string =>
  `00000000-0000-4000-8000-${Buffer.from(name).toString("hex").padEnd(12, "0").slice(0, 12)}`;

const metadata = (name: string, namespace?: string) => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  uid: uidOf(name),
  resourceVersion: "1",
  generation: 1,
  creationTimestamp: "2026-01-01T00:00:00Z",
});

const apiVersion = "vireo.dev/v1alpha1";

export const network = (
  name: string,
  vni: number | undefined,
  spec: { cidr: string } & Partial<Network["spec"]>,
): Network =>
  networks.parse({
    apiVersion,
    kind: "Network",
    metadata: metadata(name),
    spec,
    ...(vni === undefined ? {} : { status: { vni } }),
  });

export const group = (name: string, spec: object = {}, namespace = "default"): SecurityGroup =>
  securityGroups.parse({ apiVersion, kind: "SecurityGroup", metadata: metadata(name, namespace), spec });

export const entry = (name: string, address: string, more: Partial<MachineAddress> = {}): MachineAddress => ({
  address,
  nodeName: "node-2",
  nodeAddress: "192.0.2.2",
  namespace: "default",
  name,
  uid: uidOf(name),
  securityGroups: [],
  ...more,
});

export const slice = (spec: AddressSlice["spec"]): AddressSlice =>
  addressSlices.parse({ apiVersion, kind: "AddressSlice", metadata: metadata("slice"), spec });

export const nodes = slice({
  nodes: [
    { name: "node-1", addresses: ["192.0.2.1"] },
    { name: "node-2", addresses: ["192.0.2.2", "198.51.100.2"] },
  ],
});

/** A machine of this node. */
export const machine = (
  name: string,
  nic: { network: string; vni: number; address: string; allowedAddresses?: string[] },
  groups: readonly string[] = [],
): VirtualMachine => {
  const base = machineWith({
    metadata: { name, uid: uidOf(name) },
    spec: { securityGroups: [...groups] },
  });
  const allocation = base.status?.allocation;
  if (allocation === undefined) throw new Error("the machine is not placed");
  const [first] = allocation.interfaces;
  if (first === undefined) throw new Error("the machine has no interface");
  const { allowedAddresses = [], ...rest } = nic;
  return {
    ...base,
    status: {
      ...base.status,
      allocation: { ...allocation, interfaces: [{ ...first, ...rest, allowedAddresses }] },
    },
  };
};

export const factsWith = (
  facts: Partial<Omit<NetworkFacts, "machines">> & { readonly machines?: readonly VirtualMachine[] } = {},
): NetworkFacts => ({
  nodeName: "node-1",
  tunnelAddress: "192.0.2.1",
  vxlanPort: 14_789,
  nodeAddresses: ["192.0.2.1"],
  networks: [],
  groups: [],
  slices: [],
  floatingGuests: [],
  ...facts,
  machines: (facts.machines ?? []).flatMap((one) => placed(one) ?? []),
});
