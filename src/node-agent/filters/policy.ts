import type { DesiredFilters, FilterGroup, FilterNetwork, FilterRule, GuestFilter } from "./types.ts";

/**
 * What the rules say of one packet, decided here instead of by the kernel: for
 * connections that exist already, and that the kernel does not ask about again.
 */

/** The first packet of a connection, as the FORWARD chain sees it: translated to its target, not from its source. */
export interface FirstPacket {
  /** Number of the protocol over IP. */
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** Of TCP and UDP. */
  readonly destinationPort?: number | undefined;
  readonly icmp?: { readonly type: number; readonly code: number } | undefined;
}

export interface Policy {
  /** Interfaces of this node's guests that have the address, in whichever Network. */
  guestsAt(address: string): readonly GuestFilter[];
  /** The Network, if this node knows it. */
  network(vni: number): FilterNetwork | undefined;
  /** Whether the address is in the CIDR. */
  contains(cidr: string, address: string): boolean;
  /** Whether the guest may send this. `named` is the destination that it named, before translation. */
  maySend(guest: GuestFilter, packet: FirstPacket, named: string): boolean;
  /** Whether the guest may be sent this. */
  mayReceive(guest: GuestFilter, packet: FirstPacket): boolean;
}

const LINK_LOCAL = "169.254.0.0/16";
const ICMP = 1;

interface Block {
  readonly first: number;
  readonly last: number;
}

const toNumber = (address: string): number =>
  address.split(".").reduce((value, byte) => value * 256 + Number(byte), 0);

const blockOf = (cidr: string): Block => {
  const [address = "", length = "32"] = cidr.split("/");
  const size = 2 ** (32 - Number(length));
  const first = Math.floor(toNumber(address) / size) * size;
  return { first, last: first + size - 1 };
};

const isIn = (address: number, { first, last }: Block): boolean => address >= first && address <= last;

type Matches = (packet: FirstPacket, remote: string) => boolean;

/** Whether any rule of a list matches. */
const anyOf =
  (matchers: readonly Matches[]): Matches =>
  (packet, remote) =>
    matchers.some((matches) => matches(packet, remote));

const whatMatches = ({ protocol, ports, icmp }: FilterRule, packet: FirstPacket): boolean => {
  // A rule that no packet can match allows nothing: ports and kinds belong to a protocol.
  if (protocol === "any") return ports === undefined && icmp === undefined;
  if (protocol !== packet.protocol) return false;
  if (ports !== undefined) {
    const port = packet.destinationPort;
    if (port === undefined || port < ports.first || port > ports.last) return false;
  }
  if (icmp === undefined) return true;
  if (packet.protocol !== ICMP || packet.icmp?.type !== icmp.type) return false;
  return icmp.code === undefined || packet.icmp.code === icmp.code;
};

/** Members of a group, as guests of one Network see them. */
const membersKey = (groupUid: string, vni: number): string => `${groupUid} ${vni}`;

class CompiledPolicy implements Policy {
  readonly #byAddress = new Map<string, GuestFilter[]>();
  readonly #networks: ReadonlyMap<number, FilterNetwork>;
  readonly #groups: ReadonlyMap<string, FilterGroup>;
  readonly #members = new Map<string, Set<string>>();
  readonly #nodes: ReadonlySet<string>;
  readonly #blocks = new Map<string, Block>();
  readonly #compiled = new Map<string, Matches>();

  constructor({ guests, networks, groups, members, nodeAddresses }: DesiredFilters) {
    for (const guest of guests) this.#addGuest(guest);
    this.#networks = new Map(networks.map((network) => [network.vni, network]));
    this.#groups = new Map(groups.map((group) => [group.uid, group]));
    for (const { groupUid, vni, addresses } of members) {
      const known = this.#members.get(membersKey(groupUid, vni)) ?? new Set();
      for (const address of addresses) known.add(address);
      this.#members.set(membersKey(groupUid, vni), known);
    }
    this.#nodes = new Set(nodeAddresses);
  }

  #addGuest(guest: GuestFilter): void {
    for (const address of new Set([guest.address, ...guest.allowedAddresses])) {
      const known = this.#byAddress.get(address);
      if (known === undefined) this.#byAddress.set(address, [guest]);
      else known.push(guest);
    }
  }

  guestsAt(address: string): readonly GuestFilter[] {
    return this.#byAddress.get(address) ?? [];
  }

  network(vni: number): FilterNetwork | undefined {
    return this.#networks.get(vni);
  }

  contains(cidr: string, address: string): boolean {
    return isIn(toNumber(address), this.#block(cidr));
  }

  maySend(guest: GuestFilter, packet: FirstPacket, named: string): boolean {
    if ([named, packet.destination].some((address) => this.#nodes.has(address))) return false;
    if (this.contains(LINK_LOCAL, packet.destination)) return false;
    return this.#rules("egress", guest)(packet, packet.destination);
  }

  mayReceive(guest: GuestFilter, packet: FirstPacket): boolean {
    return this.#rules("ingress", guest)(packet, packet.source);
  }

  /** A CIDR is written in many rules, and read once. */
  #block(cidr: string): Block {
    const known = this.#blocks.get(cidr);
    if (known !== undefined) return known;
    const block = blockOf(cidr);
    this.#blocks.set(cidr, block);
    return block;
  }

  /** The union of what the guest's groups allow. Groups that this node does not know allow nothing. */
  #rules(direction: "ingress" | "egress", guest: GuestFilter): Matches {
    return anyOf(guest.securityGroups.map((uid) => this.#groupRules(direction, uid, guest.vni)));
  }

  #groupRules(direction: "ingress" | "egress", uid: string, vni: number): Matches {
    const key = `${direction} ${membersKey(uid, vni)}`;
    const known = this.#compiled.get(key);
    if (known !== undefined) return known;
    const rules = this.#groups.get(uid)?.[direction] ?? [];
    const matches = anyOf(rules.map((rule) => this.#rule(rule, vni)));
    this.#compiled.set(key, matches);
    return matches;
  }

  #rule(rule: FilterRule, vni: number): Matches {
    const remoteMatches = this.#remote(rule.remote, vni);
    return (packet, remote) => whatMatches(rule, packet) && remoteMatches(remote);
  }

  #remote(remote: FilterRule["remote"], vni: number): (address: string) => boolean {
    switch (remote.kind) {
      case "any":
        return () => true;
      case "group": {
        const members = this.#members.get(membersKey(remote.uid, vni));
        return (address) => members?.has(address) ?? false;
      }
      case "cidrs": {
        const blocks = remote.cidrs.map((cidr) => this.#block(cidr));
        const exceptions = remote.except.map((cidr) => this.#block(cidr));
        return (address) => {
          const value = toNumber(address);
          return (
            blocks.some((block) => isIn(value, block)) && !exceptions.some((block) => isIn(value, block))
          );
        };
      }
    }
  }
}

/** Puts the rules of this node's guests into a form that answers for many packets. */
export const createPolicy = (desired: DesiredFilters): Policy => new CompiledPolicy(desired);
