import { createHash } from "node:crypto";

import { DEFAULT_VXLAN_PORT } from "../../src/api/network-identity.ts";
import type { AllocatedInterface } from "../../src/api/virtual-machine.ts";
import { createLinks, type Links, type NodeNetworks, tapName } from "../../src/node-agent/links/index.ts";
import { joinNamespaces, startNetworkNamespace, type NetworkNamespace } from "./network-namespace.ts";
import { startPacketGuest } from "./packet-guest.ts";

/**
 * Several nodes and the world around them, made of network namespaces:
 *
 *     guests ─ taps ─ node-1 ─┐
 *     guests ─ taps ─ node-2 ─┤ underlay (a bridge, 10.99.0.0/24) ─ world
 *     guests ─ taps ─ node-3 ─┘
 *
 * Each node has a links room of its own, as its agent would; the nodes' default
 * route leads to the world, which knows no way to any guest. A test plugs guests
 * in and tells the rooms what the node's agent would tell them. No packet filter
 * is set: a test that wants one makes it with `node.namespace.runCommand`.
 */
export interface PacketNetwork {
  readonly nodes: readonly PacketNode[];
  /** Outside of the cluster: the nodes' default router, with WORLD_ADDRESS and OUTSIDE_ADDRESS. */
  readonly world: NetworkNamespace;
  /** The wire between nodes and world: its device `br0` sees what goes from one to another. */
  readonly underlay: NetworkNamespace;
  /** Makes the guest's taps through the node's links room, and starts the guest behind the first of them. */
  plugGuest(node: PacketNode, options: PlugGuestOptions): Promise<PluggedGuest>;
  /**
   * Tells the links room of each node all Networks and which guests are plugged
   * in elsewhere, as AddressSlices would tell its agent. Networks that are not
   * named lose their tunnels.
   */
  sync(networks: readonly SyncedNetwork[]): Promise<void>;
  /** Ends all namespaces and what runs in them. */
  stop(): Promise<void>;
}

export interface PacketNode {
  /** `node-1`, … */
  readonly name: string;
  /** The node's address on the underlay, on its device `eth0`: its end of the tunnels. */
  readonly address: string;
  readonly namespace: NetworkNamespace;
  /** Already set up. */
  readonly links: Links;
}

export interface PlugGuestOptions {
  /** Unique in the packet network. */
  readonly name: string;
  /** Number of the guest's Network. */
  readonly vni: number;
  readonly address: string;
  /** Name of the Network. Default `network-<vni>`. */
  readonly network?: string;
  /** Default 24. */
  readonly prefixLength?: number;
  /** Default: the address with 1 as its last number. */
  readonly gateway?: string;
  /** Default 1450: what VXLAN leaves of the underlay's 1500. */
  readonly mtu?: number;
  /** Default: follows from name, so that a guest that is plugged in elsewhere keeps it. */
  readonly macAddress?: string;
  /** Default none. */
  readonly allowedAddresses?: readonly string[];
}

export interface SyncedNetwork {
  readonly vni: number;
  readonly cidr: string;
  /** Default true. */
  readonly reachableFromNodes?: boolean;
  /** Numbers of the Networks that it routes to, and that route to it. Default none. */
  readonly peers?: readonly number[];
  /** Default GUEST_MTU. */
  readonly mtu?: number;
}

export interface PluggedGuest {
  readonly name: string;
  readonly node: PacketNode;
  /** Follows from the name. */
  readonly vmUid: string;
  readonly interface: AllocatedInterface;
  /** Name of its tap in the node's namespace. */
  readonly tap: string;
  /** The guest's inside: its card is GUEST_DEVICE. */
  readonly namespace: NetworkNamespace;
  /** Switches the guest off and removes its tap, as the agent does with a machine that leaves. */
  unplug(): Promise<void>;
}

export interface PacketNetworkOptions {
  /** How many nodes, up to 200. */
  readonly nodes: number;
  /** Where logs, sockets and identities of processes are written. */
  readonly directory: string;
}

/** The world's address on the underlay. */
export const WORLD_ADDRESS = "10.99.0.254";
/** An address of the world that is behind the underlay, like one in the Internet. */
export const OUTSIDE_ADDRESS = "198.51.100.1";
/** Size of a guest's largest packet, when nothing else is said. */
export const GUEST_MTU = 1450;

const UNDERLAY_PREFIX_LENGTH = 24;

const digest = (name: string): string => createHash("sha256").update(name).digest("hex");

/** A UID that follows from the guest's name. */
export const guestUid = (name: string): string => {
  const hex = digest(name);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
};

const guestMacAddress = (name: string): string =>
  `02:${digest(name)
    .slice(0, 10)
    .replaceAll(/(..)(?=.)/g, "$1:")}`;

const interfaceOf = (options: PlugGuestOptions): AllocatedInterface => ({
  network: options.network ?? `network-${options.vni}`,
  macAddress: options.macAddress ?? guestMacAddress(options.name),
  address: options.address,
  prefixLength: options.prefixLength ?? 24,
  gateway: options.gateway ?? options.address.replace(/\d+$/, "1"),
  dnsServers: [],
  mtu: options.mtu ?? GUEST_MTU,
  vni: options.vni,
  allowedAddresses: [...(options.allowedAddresses ?? [])],
});

const startUnderlay = async (directory: string): Promise<NetworkNamespace> => {
  const underlay = await startNetworkNamespace({ name: "underlay", directory });
  await underlay.run(["ip", "link", "add", "br0", "type", "bridge"]);
  await underlay.run(["ip", "link", "set", "br0", "up"]);
  return underlay;
};

/** Gives the namespace a device `eth0` on the underlay. */
const attach = async (
  underlay: NetworkNamespace,
  options: { readonly namespace: NetworkNamespace; readonly port: string; readonly address: string },
): Promise<void> => {
  const { namespace, port, address } = options;
  await joinNamespaces({ namespace: underlay, device: port }, { namespace, device: "eth0" });
  await underlay.run(["ip", "link", "set", port, "master", "br0"]);
  await namespace.run(["ip", "address", "add", `${address}/${UNDERLAY_PREFIX_LENGTH}`, "dev", "eth0"]);
};

const startWorld = async (underlay: NetworkNamespace, directory: string): Promise<NetworkNamespace> => {
  const world = await startNetworkNamespace({ name: "world", directory });
  await attach(underlay, { namespace: world, port: "world", address: WORLD_ADDRESS });
  await world.run(["ip", "address", "add", `${OUTSIDE_ADDRESS}/32`, "dev", "lo"]);
  return world;
};

const startNode = async (
  underlay: NetworkNamespace,
  directory: string,
  number: number,
): Promise<PacketNode> => {
  const name = `node-${number}`;
  const address = `10.99.0.${number}`;
  const namespace = await startNetworkNamespace({ name, directory });
  await attach(underlay, { namespace, port: name, address });
  await namespace.run(["ip", "route", "add", "default", "via", WORLD_ADDRESS]);
  const links = createLinks({ run: namespace.runCommand });
  await links.setUp({ signal: new AbortController().signal });
  return { name, address, namespace, links };
};

const plugIn = async (
  node: PacketNode,
  options: PlugGuestOptions,
  directory: string,
): Promise<PluggedGuest> => {
  const signal = new AbortController().signal;
  const vmUid = guestUid(options.name);
  const allocated = interfaceOf(options);
  const tap = tapName(vmUid, allocated.network);
  await node.links.ensure({ vmUid, interfaces: [allocated] }, { signal });
  const namespace = await startPacketGuest({
    ...allocated,
    name: `${options.name}-on-${node.name}`,
    directory,
    node: node.namespace,
    tap,
  });
  const unplug = async (): Promise<void> => {
    await namespace.stop();
    await node.links.remove(vmUid, { signal });
  };
  return { name: options.name, node, vmUid, interface: allocated, tap, namespace, unplug };
};

/** What a node is told: all Networks, and the guests of the other nodes. */
const routesFor = (
  node: PacketNode,
  nodes: readonly PacketNode[],
  guests: Iterable<PluggedGuest>,
  networks: readonly SyncedNetwork[],
): NodeNetworks => {
  const remote = [...guests].filter((guest) => guest.node !== node);
  return {
    tunnelAddress: node.address,
    vxlanPort: DEFAULT_VXLAN_PORT,
    nodes: nodes.filter((other) => other !== node).map(({ address }) => address),
    networks: networks.map(({ vni, cidr, reachableFromNodes = true, peers = [], mtu = GUEST_MTU }) => ({
      vni,
      cidr,
      mtu,
      reachableFromNodes,
      peers,
      remote: remote
        .filter((guest) => guest.interface.vni === vni)
        .flatMap(({ interface: { address, allowedAddresses }, node: { address: nodeAddress } }) =>
          [address, ...allowedAddresses].map((each) => ({ address: each, nodeAddress })),
        ),
    })),
  };
};

export const startPacketNetwork = async (options: PacketNetworkOptions): Promise<PacketNetwork> => {
  const { directory } = options;
  const underlay = await startUnderlay(directory);
  const world = await startWorld(underlay, directory);
  const nodes: PacketNode[] = [];
  for (let number = 1; number <= options.nodes; number += 1) {
    nodes.push(await startNode(underlay, directory, number));
  }
  const guests = new Set<PluggedGuest>();
  return {
    nodes,
    world,
    underlay,
    plugGuest: async (node, guestOptions) => {
      const plugged = await plugIn(node, guestOptions, directory);
      const guest: PluggedGuest = {
        ...plugged,
        unplug: async () => {
          guests.delete(guest);
          await plugged.unplug();
        },
      };
      guests.add(guest);
      return guest;
    },
    sync: async (networks) => {
      const signal = new AbortController().signal;
      for (const node of nodes) {
        await node.links.syncNetworks(routesFor(node, nodes, guests, networks), { signal });
      }
    },
    stop: async () => {
      await Promise.all([...guests].map((guest) => guest.namespace.stop()));
      await Promise.all(
        [...nodes.map(({ namespace }) => namespace), world, underlay].map((each) => each.stop()),
      );
    },
  };
};
