import type { AllocatedInterface } from "../../api/virtual-machine.ts";
import type { Rule } from "./rules.ts";

export { tapName } from "./owner.ts";

/** The interfaces that a machine is to have on this node. */
export interface Link {
  readonly vmUid: string;
  readonly interfaces: readonly AllocatedInterface[];
  /**
   * Whether its guest is on its way from another node, and still runs there: no
   * way leads to its taps then. Default false.
   */
  readonly isArriving?: boolean;
}

/** The host's end of a guest's interface. */
export interface Tap {
  /** Name of the Network. */
  readonly network: string;
  /** Name of the tap device on the node; see tapName. */
  readonly name: string;
  /** The guest's hardware address. The tap's own is the same everywhere. */
  readonly macAddress: string;
  /** The guest's address. */
  readonly address: string;
  /** Largest packet in bytes. */
  readonly mtu: number;
}

/** The ways that this node is to know to guests of other nodes, as a whole. */
export interface NodeNetworks {
  /** This node's end of the tunnels: an IPv4 address of its own. */
  readonly tunnelAddress: string;
  /** UDP port of the tunnels on all nodes. */
  readonly vxlanPort: number;
  /** Tunnel addresses of all other nodes: each may send to the guests here, and is answered. */
  readonly nodes: readonly string[];
  readonly networks: readonly NetworkRoutes[];
}

export interface NetworkRoutes {
  /** The Network's number, the same on all nodes. */
  readonly vni: number;
  /** The Network's addresses, with the host bits zero. */
  readonly cidr: string;
  /** Largest packet in bytes. */
  readonly mtu: number;
  /** Whether this node itself, and its pods, have a way to the Network's guests. */
  readonly reachableFromNodes: boolean;
  /** Numbers of the Networks whose guests this one's guests have a way to. Those that are not in `networks` have no way to other nodes. */
  readonly peers: readonly number[];
  /** Guests on other nodes. An address that a tap of this node has is left to the tap. */
  readonly remote: readonly RemoteAddress[];
}

export interface RemoteAddress {
  readonly address: string;
  /** Tunnel address of the guest's node. */
  readonly nodeAddress: string;
}

/** A network device, as far as this room looks at it. */
export interface ObservedDevice {
  readonly name: string;
  /** `bridge`, `tap`, `vxlan`, … in iproute2's words; undefined for hardware. */
  readonly kind: string | undefined;
  readonly alias: string | undefined;
  readonly macAddress: string | undefined;
  readonly mtu: number;
  readonly up: boolean;
  /** Number of the group of devices; 0 for those that nobody put into one. */
  readonly group: number;
  /** IPv4 addresses with their prefix lengths. */
  readonly addresses: readonly string[];
  /** Undefined unless the kind is `vxlan`. */
  readonly vxlan: ObservedVxlan | undefined;
}

export interface ObservedVxlan {
  readonly vni: number;
  /** Address that it sends from. */
  readonly local: string | undefined;
  readonly port: number;
  /** Whether it learns from packets where senders are. */
  readonly learning: boolean;
}

/** A route in one of our tables. */
export interface Route {
  readonly table: number;
  /** An address, or a network with its prefix length. */
  readonly destination: string;
  readonly device: string | undefined;
  /** Address of the node behind the tunnel; undefined for a guest of this node. */
  readonly gateway: string | undefined;
  /** Address that this node itself sends from; undefined where the kernel chooses. */
  readonly source: string | undefined;
}

export interface ObservedRoute extends Route {
  /** 0 for all that we make. */
  readonly metric: number;
  /** Whether it leads somewhere at all; true for all that we make. */
  readonly unicast: boolean;
}

export interface Neighbour {
  readonly device: string;
  readonly address: string;
  readonly macAddress: string;
}

export interface ObservedNeighbour extends Omit<Neighbour, "macAddress"> {
  readonly macAddress: string | undefined;
}

/** To which node a VXLAN device sends what is for a hardware address. */
export interface Forwarding {
  readonly device: string;
  readonly macAddress: string;
  readonly nodeAddress: string;
}

export interface ObservedForwarding extends Forwarding {
  readonly permanent: boolean;
}

export interface ObservedLinks {
  readonly devices: readonly ObservedDevice[];
  /** Rules with our protocol and a shape that we make, others' left out. */
  readonly rules: readonly Rule[];
  /** Routes with our protocol in our tables, others' left out. */
  readonly routes: readonly ObservedRoute[];
  /** Permanent neighbours. */
  readonly neighbours: readonly ObservedNeighbour[];
  /** Where VXLAN devices send to, others' among them. */
  readonly forwarding: readonly ObservedForwarding[];
  /** The kernel's settings by name, of the node and of our devices. */
  readonly settings: ReadonlyMap<string, string>;
}
