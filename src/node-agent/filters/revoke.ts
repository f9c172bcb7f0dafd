import { MARK_MASK, MARK_TAG, MARK_TAG_MASK, MAX_VNI, REVOKED_BIT } from "../../api/network-identity.ts";
import type { ConntrackEntry } from "./conntrack.ts";
import type { ConntrackMessage } from "./conntrack-message.ts";
import { createPolicy, type FirstPacket, type Policy } from "./policy.ts";
import type { DesiredFilters, FilterNetwork, GuestFilter } from "./types.ts";

/**
 * Connections outlive the rules that allowed them: the kernel asks the rules
 * about a connection's first packet only. After a change each connection of the
 * guests concerned is judged again, as if its first packet came now.
 *
 * One that is no longer allowed is marked, and the rules refuse what has the
 * mark, both ways. It is not deleted: the next packet of either side would make
 * a new entry, and the guest's may leave, so that the peer's are its answers.
 *
 * A protocol without ports has one entry between two addresses, whoever began:
 * while it is revoked, and either side goes on sending, the other direction is
 * refused too, even where rules would let that one begin.
 */

/** The machines whose connections are looked at, by uid; all after a start, when nobody knows what has changed. */
export type AffectedMachines = readonly string[] | "all";

export interface Revocations {
  /** Connections that are to be cut. */
  readonly revoke: readonly ConntrackEntry[];
  /** Connections that were cut, and may go on. */
  readonly restore: readonly ConntrackEntry[];
}

/** Number of the Network whose guest, or whose tunnel, the connection began in. */
const initiatorNetwork = ({ mark, zones }: ConntrackEntry): number | undefined =>
  (mark & MARK_TAG_MASK) === MARK_TAG ? mark & MARK_MASK & MAX_VNI : zones.original;

const isRevoked = ({ mark }: ConntrackEntry): boolean => (mark & REVOKED_BIT) !== 0;

/** The first packet as the FORWARD chain saw it: the answers come from where it was translated to. */
const firstPacketOf = ({ protocol, original, reply }: ConntrackEntry): FirstPacket => ({
  protocol,
  source: original.source,
  destination: reply.source,
  destinationPort: reply.ports?.source,
  icmp: original.icmp,
});

interface Parties {
  /** The guest of this node that began it; none if it came from elsewhere. */
  readonly senders: readonly GuestFilter[];
  /** The guest of this node that it goes to. More than one when Networks share addresses and the entry does not tell which. */
  readonly receivers: readonly GuestFilter[];
  /** Whether there is a way at all: between two Networks, or from one to the world. */
  readonly connected: boolean;
}

const isTranslated = ({ original, reply }: ConntrackEntry): boolean => original.destination !== reply.source;

/** Whether guests of the Network, or at least this address, may reach what is in no Network. */
const reachesWorld = ({ egress, egressExceptions = [] }: FilterNetwork, address: string): boolean =>
  egress === "NAT" || egressExceptions.includes(address);

const partiesOf = (policy: Policy, entry: ConntrackEntry): Parties => {
  const { original, reply, zones } = entry;
  const vni = initiatorNetwork(entry);
  const senders = policy.guestsAt(original.source).filter((guest) => guest.vni === vni);
  const receivers = policy.guestsAt(reply.source);
  const network = vni === undefined ? undefined : policy.network(vni);
  // A floating address may belong to any Network's guest.
  if (network === undefined || (isTranslated(entry) && receivers.length > 0)) {
    return { senders, receivers, connected: true };
  }
  const within = [network, ...network.peers].find(({ cidr }) => policy.contains(cidr, reply.source));
  if (within !== undefined) {
    return { senders, receivers: receivers.filter((guest) => guest.vni === within.vni), connected: true };
  }
  // An address outside of the Network's, that a guest of it was given leave for.
  const further = receivers.filter((guest) => guest.vni === vni);
  if (further.length > 0) return { senders, receivers: further, connected: true };
  // What stayed among Networks is tracked in a zone of its own: these no longer route to each other.
  if (zones.both !== undefined) return { senders, receivers, connected: false };
  const connected = senders.length === 0 || reachesWorld(network, original.source);
  return { senders, receivers: [], connected };
};

const isAllowed = (policy: Policy, entry: ConntrackEntry, parties: Parties): boolean => {
  const { senders, receivers, connected } = parties;
  const packet = firstPacketOf(entry);
  const maySend =
    senders.length === 0 ||
    senders.some((guest) => policy.maySend(guest, packet, entry.original.destination));
  // A guest that reached another by its floating address came to it from the node's.
  const isHairpin = senders.length > 0 && isTranslated(entry);
  const received = isHairpin ? { ...packet, source: entry.reply.destination } : packet;
  const mayReceive = receivers.length === 0 || receivers.some((guest) => policy.mayReceive(guest, received));
  return connected && maySend && mayReceive;
};

/** Connections between a guest and the node itself pass other rules. */
const isWithNode = (
  { original, reply }: ConntrackEntry,
  { guests, tunnelAddress }: DesiredFilters,
): boolean =>
  original.source === tunnelAddress ||
  guests.some(({ gateway }) => gateway === reply.source || gateway === original.source);

/** The connections of the affected machines whose mark is not what the rules say now. */
export const planRevocations = (
  entries: readonly ConntrackEntry[],
  desired: DesiredFilters,
  affected: AffectedMachines,
): Revocations => {
  const policy = createPolicy(desired);
  const uids = new Set(affected === "all" ? [] : affected);
  const isAffected = ({ vmUid }: GuestFilter): boolean => affected === "all" || uids.has(vmUid);
  const revoke: ConntrackEntry[] = [];
  const restore: ConntrackEntry[] = [];
  for (const entry of entries) {
    const parties = partiesOf(policy, entry);
    if (![...parties.senders, ...parties.receivers].some(isAffected)) continue;
    if (isWithNode(entry, desired)) continue;
    const allowed = isAllowed(policy, entry, parties);
    if (allowed && isRevoked(entry)) restore.push(entry);
    if (!allowed && !isRevoked(entry)) revoke.push(entry);
  }
  return { revoke, restore };
};

/** A guest's interface that is gone from this node. */
export type GoneGuest = Pick<GuestFilter, "address" | "allowedAddresses" | "vni">;

/** The entries that only the guest can have left behind. `desired` names the guests that remain. */
export const entriesOf = (
  gone: GoneGuest,
  entries: readonly ConntrackEntry[],
  desired: DesiredFilters,
): readonly ConntrackEntry[] => {
  const policy = createPolicy(desired);
  const addresses = new Set([gone.address, ...gone.allowedAddresses]);
  const peers = policy.network(gone.vni)?.peers ?? [];
  const numbers = new Set([gone.vni, ...peers.map(({ vni }) => vni)]);
  return entries.filter((entry) => {
    const { original, reply, zones } = entry;
    const ends = [original.source, original.destination, reply.source, reply.destination];
    if (!ends.some((address) => addresses.has(address))) return false;
    const network = initiatorNetwork(entry) ?? zones.both;
    if (network !== undefined) return numbers.has(network);
    // From outside: another Network's guest may have the address.
    return addresses.has(reply.source) && policy.guestsAt(reply.source).length === 0;
  });
};

export const markMessage = (entry: ConntrackEntry, value: 0 | typeof REVOKED_BIT): ConntrackMessage => ({
  kind: "set-mark",
  key: entry,
  value,
  mask: REVOKED_BIT,
});
