import { isDeepStrictEqual } from "node:util";
import type { MachineAddress, NodeAddresses } from "../../api/address-slice.ts";
import { isTrue } from "../../api/condition.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import { groupNamesOf } from "../../api/security-group.ts";
import type { AllocatedInterface, VirtualMachine } from "../../api/virtual-machine.ts";
import type { SlicedList } from "./plan.ts";

/** The machines of a Network, one entry for each address. */
export const machineList: SlicedList<MachineAddress> = {
  keyOf: ({ address }) => address,
  entriesOf: ({ spec }) => spec.machines ?? [],
  isSame: (a, b) => isDeepStrictEqual(inOrder(a), inOrder(b)),
};

/** Groups are a set for the API server, without an order. */
const inOrder = (entry: MachineAddress): MachineAddress => ({
  ...entry,
  securityGroups: entry.securityGroups.toSorted(),
});

/** The nodes of the cluster. */
export const nodeList: SlicedList<NodeAddresses> = {
  keyOf: ({ name }) => name,
  entriesOf: ({ spec }) => spec.nodes ?? [],
  isSame: isDeepStrictEqual,
};

/** As many as an entry may have. */
const MAX_NODE_ADDRESSES = 16;

/** The node's addresses, the one that ends its tunnels first. */
export const addressesOfNode = ({ status }: Hypervisor): readonly string[] => {
  const tunnel = status?.tunnelAddress === undefined ? [] : [status.tunnelAddress];
  return [...new Set([...tunnel, ...(status?.addresses ?? [])])].slice(0, MAX_NODE_ADDRESSES);
};

/** An entry for each node that has said its addresses. */
export const nodeEntries = (hypervisors: readonly Hypervisor[]): readonly NodeAddresses[] =>
  hypervisors
    .map((hypervisor) => ({ name: hypervisor.metadata.name, addresses: [...addressesOfNode(hypervisor)] }))
    .filter(({ addresses }) => addresses.length > 0);

/** What an entry needs of a machine in the Network. */
interface Member {
  readonly machine: VirtualMachine;
  readonly card: AllocatedInterface;
  readonly nodeName: string;
  readonly nodeAddress: string;
}

/**
 * The entries of a Network: the address of each machine that may exist on a node,
 * and each address that machines may send from beside their own. Such a one
 * belongs to the first by namespace and name of those that are Ready, or else
 * to the first of all.
 *
 * @param nodeAddressOf address of the node's end of tunnels; machines of a node that has not said it have no entry
 */
export const machineEntries = (
  network: string,
  machines: readonly VirtualMachine[],
  nodeAddressOf: (nodeName: string) => string | undefined,
): readonly MachineAddress[] => {
  const members = machines
    .toSorted(byNamespaceAndName)
    .flatMap((machine) => membersOf(machine, network, nodeAddressOf));
  const entries = new Map<string, MachineAddress>();
  const enter = (address: string, member: Member): void => {
    if (!entries.has(address)) entries.set(address, entryOf(address, member));
  };
  for (const member of members) enter(member.card.address, member);
  const claimants = [...members.filter(isReady), ...members];
  for (const member of claimants) for (const address of member.card.allowedAddresses) enter(address, member);
  return [...entries.values()];
};

const membersOf = (
  machine: VirtualMachine,
  network: string,
  nodeAddressOf: (nodeName: string) => string | undefined,
): readonly Member[] => {
  const { nodeName, allocation, conditions } = machine.status ?? {};
  const nodeAddress = nodeName === undefined ? undefined : nodeAddressOf(nodeName);
  if (nodeName === undefined || nodeAddress === undefined || isTrue(conditions, "Released")) return [];
  return (allocation?.interfaces ?? [])
    .filter((card) => card.network === network)
    .map((card) => ({ machine, card, nodeName, nodeAddress }));
};

const entryOf = (address: string, { machine, nodeName, nodeAddress }: Member): MachineAddress => ({
  address,
  nodeName,
  nodeAddress,
  namespace: machine.metadata.namespace ?? "",
  name: machine.metadata.name,
  uid: machine.metadata.uid,
  securityGroups: groupNamesOf(machine.spec.securityGroups).toSorted(),
});

const isReady = ({ machine }: Member): boolean => isTrue(machine.status?.conditions, "Ready");

const byNamespaceAndName = ({ metadata: a }: VirtualMachine, { metadata: b }: VirtualMachine): number =>
  a.namespace === b.namespace ? compare(a.name, b.name) : compare(a.namespace ?? "", b.namespace ?? "");

const compare = (a: string, b: string): number => (a < b ? -1 : a === b ? 0 : 1);
