import type { AddressSlice, MachineAddress } from "../../../api/address-slice.ts";
import { peersOf } from "../../../api/network-peers.ts";
import type { Network } from "../../../api/network.ts";
import { groupNamesOf, type SecurityGroup } from "../../../api/security-group.ts";
import type { AllocatedInterface, VirtualMachine } from "../../../api/virtual-machine.ts";
import type { PlacedMachine } from "../../desired.ts";

/**
 * What the cluster's objects say of the network, put together for this node:
 * pure values, that the desired routes and the desired filters are made from.
 */
export interface NetworkFacts {
  readonly nodeName: string;
  /** Address of this node that other nodes send guests' packets to; undefined while it has none. */
  readonly tunnelAddress: string | undefined;
  readonly vxlanPort: number;
  /** Addresses that guests must not reach, beside those that AddressSlices name. */
  readonly nodeAddresses: readonly string[];
  /** Machines of this node, without those that are being removed. */
  readonly machines: readonly PlacedMachine[];
  /** Machines on their way to this node, whose guests still run elsewhere: their rules are here before they come. */
  readonly arriving?: readonly PlacedMachine[] | undefined;
  /** Machines on their way to this node, and those that have just come. */
  readonly newcomers?: readonly PlacedMachine[] | undefined;
  readonly networks: readonly Network[];
  readonly groups: readonly SecurityGroup[];
  readonly slices: readonly AddressSlice[];
  /** Guests of this node that have a claim to a floating address. */
  readonly floatingGuests: readonly { readonly vni: number; readonly address: string }[];
}

/** A Network that this node has to know, by the number that it has on all nodes. */
export interface KnownNetwork {
  readonly name: string;
  readonly vni: number;
  readonly cidr: string;
  readonly mtu: number;
  readonly egress: Network["spec"]["egress"];
  readonly reachableFromNodes: boolean;
  readonly peers: readonly { readonly vni: number; readonly cidr: string }[];
}

/** One address of a machine, wherever it is. */
export interface PlacedAddress extends Omit<MachineAddress, "nodeAddress"> {
  readonly vni: number;
  /** Undefined for machines of this node. */
  readonly nodeAddress: string | undefined;
}

const knownNetwork = (network: Network, networks: readonly Network[]): KnownNetwork[] => {
  const vni = network.status?.vni;
  if (vni === undefined) return [];
  const peers = peersOf(network, networks).flatMap(({ spec, status }) =>
    status?.vni === undefined ? [] : [{ vni: status.vni, cidr: spec.cidr }],
  );
  const { cidr, mtu, egress, reachableFromNodes } = network.spec;
  return [{ name: network.metadata.name, vni, cidr, mtu, egress, reachableFromNodes, peers }];
};

/**
 * A machine may outlive its Network's object. What is known of the Network then
 * is what the machine was given; that it had leave to go anywhere is not.
 */
const forgottenNetwork = (nic: AllocatedInterface): KnownNetwork => ({
  name: nic.network,
  vni: nic.vni,
  cidr: maskedCidr(nic.address, nic.prefixLength),
  mtu: nic.mtu,
  egress: "None",
  reachableFromNodes: false,
  peers: [],
});

const maskedCidr = (address: string, prefixLength: number): string => {
  const value = address.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
  const size = 2 ** (32 - prefixLength);
  const first = Math.floor(value / size) * size;
  const bytes = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return `${bytes.join(".")}/${prefixLength}`;
};

const interfacesOf = ({ machines, arriving = [] }: NetworkFacts): readonly AllocatedInterface[] =>
  [...machines, ...arriving].flatMap(({ allocation }) => allocation.interfaces);

/** All Networks by number, those that only machines of this node still know too. */
export const networksByNumber = (facts: NetworkFacts): ReadonlyMap<number, KnownNetwork> => {
  const known = facts.networks.flatMap((network) => knownNetwork(network, facts.networks));
  const forgotten = interfacesOf(facts).map(forgottenNetwork);
  return new Map([...forgotten, ...known].map((network) => [network.vni, network]));
};

/** Numbers of the Networks that have a guest here. */
export const localNumbers = (facts: NetworkFacts): ReadonlySet<number> =>
  new Set(interfacesOf(facts).map(({ vni }) => vni));

/**
 * The Networks that this node has to reach: those of its guests, those with
 * machines that it may reach itself, and those that one of these routes to.
 */
export const wantedNetworks = (
  facts: NetworkFacts,
  addresses: readonly PlacedAddress[],
): readonly KnownNetwork[] => {
  const known = networksByNumber(facts);
  const local = localNumbers(facts);
  const inhabited = new Set(addresses.map(({ vni }) => vni));
  const first = [...known.values()].filter(
    ({ vni, reachableFromNodes }) => local.has(vni) || (reachableFromNodes && inhabited.has(vni)),
  );
  const numbers = new Set(first.flatMap(({ vni, peers }) => peers.map((peer) => peer.vni).concat(vni)));
  return [...numbers].flatMap((vni) => known.get(vni) ?? []);
};

const ownAddresses = (
  { metadata, spec }: VirtualMachine,
  { vni, address, allowedAddresses }: AllocatedInterface,
  nodeName: string,
): PlacedAddress[] => {
  const { namespace = "", name, uid } = metadata;
  const securityGroups = [...groupNamesOf(spec.securityGroups)];
  const owner = { vni, nodeName, nodeAddress: undefined, namespace, name, uid, securityGroups };
  return [address, ...allowedAddresses].map((one) => Object.assign({ address: one }, owner));
};

const elsewhere = (entry: MachineAddress, vni: number): PlacedAddress =>
  Object.assign({}, entry, { vni, securityGroups: [...groupNamesOf(entry.securityGroups)] });

/**
 * Addresses of all machines of the cluster. This node knows its own machines
 * better than any slice does: a change of their groups holds here before the
 * controller has written it down for the others.
 */
export const placedAddresses = (facts: NetworkFacts): readonly PlacedAddress[] => {
  const numbers = new Map(
    facts.networks.flatMap(({ metadata, status }) =>
      status?.vni === undefined ? [] : [[metadata.name, status.vni] as const],
    ),
  );
  const own = facts.machines.flatMap(({ machine, allocation }) =>
    allocation.interfaces.flatMap((nic) => ownAddresses(machine, nic, facts.nodeName)),
  );
  const ownUids = new Set(facts.machines.map(({ machine }) => machine.metadata.uid));
  const others = facts.slices.flatMap(({ spec }) => {
    const vni = spec.network === undefined ? undefined : numbers.get(spec.network);
    if (vni === undefined) return [];
    return (spec.machines ?? [])
      .filter(({ uid, nodeName }) => !ownUids.has(uid) && nodeName !== facts.nodeName)
      .map((entry) => elsewhere(entry, vni));
  });
  return [...own, ...others];
};

/** Addresses of other nodes that end their tunnels. */
export const otherTunnelAddresses = ({ slices, nodeName }: NetworkFacts): readonly string[] =>
  slices.flatMap(({ spec }) =>
    (spec.nodes ?? [])
      .filter(({ name }) => name !== nodeName)
      .flatMap(({ addresses }) => addresses.slice(0, 1)),
  );

/** Addresses of all nodes, this one too. */
export const allNodeAddresses = ({ slices, nodeAddresses }: NetworkFacts): readonly string[] => [
  ...new Set([
    ...nodeAddresses,
    ...slices.flatMap(({ spec }) => (spec.nodes ?? []).flatMap((node) => node.addresses)),
  ]),
];
