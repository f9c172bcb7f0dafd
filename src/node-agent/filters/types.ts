/** What the filter has to know of one interface of a guest. */
export interface GuestFilter {
  readonly vmUid: string;
  readonly namespace: string;
  readonly name: string;
  /** Name of the tap on this node. */
  readonly tap: string;
  /** Number of the Network. */
  readonly vni: number;
  /** The only hardware address that the guest may send from. */
  readonly macAddress: string;
  readonly address: string;
  /** Further addresses that the guest may send from. */
  readonly allowedAddresses: readonly string[];
  /** The guest's router, an address of this node: the guest may ping it, and nothing else of the node. */
  readonly gateway: string;
  /**
   * Uids of its groups. It may send and receive what any of them allows; one
   * that is not among the groups allows nothing.
   */
  readonly securityGroups: readonly string[];
}

/** A Network, as far as packets of its guests are concerned. */
export interface FilterNetwork {
  readonly vni: number;
  readonly cidr: string;
  /** NAT: guests reach the world with the node's address. None: they do not reach it. */
  readonly egress: "NAT" | "None";
  /** Addresses that reach the world although egress is None: those that have a floating address. Default: none. */
  readonly egressExceptions?: readonly string[];
  /** Networks that this one routes to. */
  readonly peers: readonly { readonly vni: number; readonly cidr: string }[];
}

/** Whom a rule is about: the sender for ingress, the receiver for egress. */
export type FilterRemote =
  | { readonly kind: "any" }
  /** An address in one of `cidrs` and in none of `except`. */
  | { readonly kind: "cidrs"; readonly cidrs: readonly string[]; readonly except: readonly string[] }
  /** A member of the group, as GroupMembers tells. */
  | { readonly kind: "group"; readonly uid: string };

/** What is allowed. */
export interface FilterRule {
  /** Number of the IP protocol. */
  readonly protocol: number | "any";
  /** Destination ports of TCP (6) and UDP (17), both ends included. Absent: all. */
  readonly ports?: { readonly first: number; readonly last: number };
  /** Kind of ICMP (1). Absent: all kinds. Without code: all codes of the type. */
  readonly icmp?: { readonly type: number; readonly code?: number };
  readonly remote: FilterRemote;
}

export interface FilterGroup {
  readonly uid: string;
  readonly ingress: readonly FilterRule[];
  readonly egress: readonly FilterRule[];
  /** Whether what is refused to and from its members is written to the kernel's log. */
  readonly logRefused: boolean;
}

/** Members of a group that guests of a Network may see: those in it and in its peers. */
export interface GroupMembers {
  readonly groupUid: string;
  readonly vni: number;
  readonly addresses: readonly string[];
}

/** All that the filter of a node follows from. Order and repetition do not matter. */
export interface DesiredFilters {
  /** A tap that no guest names gets nothing through. */
  readonly guests: readonly GuestFilter[];
  readonly networks: readonly FilterNetwork[];
  /**
   * Addresses of guests that have just come from another node, or are about to,
   * and whose floating address may come after them. What they go on sending in a
   * connection over it must not leave with the node's address: who gets that
   * would end the connection. Default: none.
   */
  readonly newcomers?: readonly { readonly vni: number; readonly address: string }[] | undefined;
  readonly groups: readonly FilterGroup[];
  /** A group without an entry for a Network has no members there. */
  readonly members: readonly GroupMembers[];
  /**
   * Addresses of all nodes, this one and others: guests may not open
   * connections to them, and tunnels come from them only. What is not IPv4 is
   * ignored. Not among them: the nodes' floating addresses.
   */
  readonly nodeAddresses: readonly string[];
  /** Address of this node that tunnels to it end at; undefined while it has none. */
  readonly tunnelAddress: string | undefined;
  /** UDP port of tunnels. */
  readonly vxlanPort: number;
}

/** What a sync has done. */
export interface FilterOutcome {
  /** Chains and sets that were made, written anew, or removed. */
  readonly changedChains: number;
  /** Chains, jumps and sets that had been changed by somebody else, and were repaired. */
  readonly repaired: number;
  /**
   * Uids of guests for which what is allowed may have changed: what they have
   * open is to be looked at again. All of them when it is not known what was
   * in force before: in the first sync, and after a failure.
   */
  readonly affectedGuests: readonly string[];
  /** Connections that were cut, since they are no longer allowed. */
  readonly revoked: number;
  /** Connections that may go on, since they are allowed again. */
  readonly restored: number;
}
