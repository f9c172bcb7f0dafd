import type { AddressSlice, MachineAddress, NodeAddresses } from "../../api/address-slice.ts";
import { formatKey, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { BY_NETWORK } from "../stores.ts";
import { addressesOfNode, machineEntries, machineList, nodeEntries, nodeList } from "./entries.ts";

/**
 * A list that is kept in slices: by the Network's name the machines of that
 * Network, and under NODES the nodes.
 */
export type ListKey = ObjectKey;

/** No Network's key: it has a namespace. */
export const NODES: ListKey = { namespace: "cluster", name: "nodes" };

export const isNodes = (key: ListKey): boolean => key.namespace === NODES.namespace;

/** Which list a slice is a part of. */
export const listOf = ({ spec }: AddressSlice): ListKey =>
  spec.network === undefined ? NODES : { name: spec.network };

export interface ListFacts<Entry> {
  /** Slices that hold a part of the list. */
  readonly slices: readonly AddressSlice[];
  readonly wanted: readonly Entry[];
}

const slicesOf = (stores: Stores, key: ListKey): readonly AddressSlice[] => {
  const id = formatKey(key);
  return stores.addressSlices.list().filter((slice) => formatKey(listOf(slice)) === id);
};

/**
 * The machines of a Network; none when it is gone. A machine or a node that
 * exists and cannot be understood keeps the entries that it has.
 */
export const observeMachines = (stores: Stores, network: string): ListFacts<MachineAddress> => {
  const slices = slicesOf(stores, { name: network });
  if (stores.networks.get({ name: network }) === undefined) return { slices, wanted: [] };
  const known = machineEntries(network, stores.virtualMachines.byIndex(BY_NETWORK, network), (nodeName) =>
    nodeAddressOf(stores, nodeName),
  );
  const obscure = obscureNames(stores.virtualMachines.unreadable());
  const kept = slices
    .flatMap(machineList.entriesOf)
    .filter(({ namespace, name }) => obscure.has(formatKey({ namespace, name })));
  return { slices, wanted: withKept(machineList.keyOf, known, kept) };
};

/** Of a node that cannot be understood, what was said last. */
const nodeAddressOf = (stores: Stores, nodeName: string): string | undefined => {
  if (obscureNames(stores.hypervisors.unreadable()).has(nodeName))
    return slicesOf(stores, NODES)
      .flatMap(nodeList.entriesOf)
      .find(({ name }) => name === nodeName)?.addresses[0];
  const hypervisor = stores.hypervisors.get({ name: nodeName });
  return hypervisor === undefined ? undefined : addressesOfNode(hypervisor)[0];
};

export const observeNodes = (stores: Stores): ListFacts<NodeAddresses> => {
  const slices = slicesOf(stores, NODES);
  const obscure = obscureNames(stores.hypervisors.unreadable());
  const kept = slices.flatMap(nodeList.entriesOf).filter(({ name }) => obscure.has(name));
  return { slices, wanted: withKept(nodeList.keyOf, nodeEntries(stores.hypervisors.list()), kept) };
};

const obscureNames = (unreadable: readonly { readonly key: ObjectKey }[]): ReadonlySet<string> =>
  new Set(unreadable.map(({ key }) => formatKey(key)));

const withKept = <Entry>(
  keyOf: (entry: Entry) => string,
  known: readonly Entry[],
  kept: readonly Entry[],
): readonly Entry[] => [...new Map([...kept, ...known].map((entry) => [keyOf(entry), entry])).values()];
