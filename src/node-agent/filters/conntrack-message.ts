import { endianness } from "node:os";

/**
 * Messages to the kernel's connection tracking, for what conntrack(8) cannot
 * say: its -U knows no zones (1.4.7 refuses --zone, and without it looks in
 * zone 0 only), and reads the whole table for each entry.
 *
 * https://docs.kernel.org/userspace-api/netlink/intro.html
 * linux/netfilter/nfnetlink_conntrack.h, linux/netfilter/nf_conntrack_netlink.c
 */

/** One direction of a connection, as its packets are addressed. */
export interface Tuple {
  readonly source: string;
  readonly destination: string;
  /** Ports of TCP, UDP, SCTP, DCCP and UDP-Lite; the keys of GRE. */
  readonly ports?: { readonly source: number; readonly destination: number };
  readonly icmp?: { readonly type: number; readonly code: number; readonly id: number };
}

/** Where an entry is kept: in a zone for both directions, or for one; the rest is zone 0. */
export interface Zones {
  readonly both?: number;
  readonly original?: number;
  readonly reply?: number;
}

/** What names one entry among all. */
export interface EntryKey {
  /** Number of the protocol over IP. */
  readonly protocol: number;
  readonly original: Tuple;
  readonly zones: Zones;
}

export type ConntrackMessage =
  /** The bits of `mask` in the entry's mark become those of `value`. */
  | { readonly kind: "set-mark"; readonly key: EntryKey; readonly value: number; readonly mask: number }
  | { readonly kind: "delete"; readonly key: EntryKey };

const SUBSYSTEM = 1 << 8;
const MESSAGE_TYPES = { "set-mark": SUBSYSTEM, delete: SUBSYSTEM + 2 } as const;
/** Requested and acknowledged; without "create", so that an entry that is gone stays gone. */
const REQUEST_AND_ACKNOWLEDGE = 0x1 + 0x4;
const HEADER_BYTES = 16;
const FAMILY_IPV4 = 2;
const NESTED = 0x8000;
const ATTRIBUTE = { originalTuple: 1, mark: 8, zone: 18, markMask: 21 } as const;
const TUPLE = { addresses: 1, protocol: 2, zone: 3 } as const;
const ADDRESS = { source: 1, destination: 2 } as const;
const PROTOCOL = {
  number: 1,
  sourcePort: 2,
  destinationPort: 3,
  icmpId: 4,
  icmpType: 5,
  icmpCode: 6,
} as const;

const littleEndianHost = endianness() === "LE";

/** An unsigned integer of 1, 2 or 4 bytes as the network has it. */
const integer = (bytes: 1 | 2 | 4, value: number): Buffer => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
};

/** The lengths and types of netlink are in the host's byte order. */
const hostHeader = (bytes: number, write: (view: DataView) => void): Buffer => {
  const buffer = new ArrayBuffer(bytes);
  write(new DataView(buffer));
  return Buffer.from(buffer);
};

const attribute = (type: number, ...parts: readonly Buffer[]): Buffer => {
  const payload = Buffer.concat(parts);
  const header = hostHeader(4, (view) => {
    view.setUint16(0, 4 + payload.length, littleEndianHost);
    view.setUint16(2, type, littleEndianHost);
  });
  return Buffer.concat([header, payload, Buffer.alloc(-payload.length & 3)]);
};

const nested = (type: number, ...parts: readonly Buffer[]): Buffer => attribute(NESTED | type, ...parts);

const ipv4 = (address: string): Buffer => {
  const bytes = address.split(".").map(Number);
  if (bytes.length !== 4) throw new RangeError(`not an IPv4 address: ${JSON.stringify(address)}`);
  return Buffer.concat(bytes.map((byte) => integer(1, byte)));
};

const protocolAttributes = (protocol: number, { ports, icmp }: Tuple): readonly Buffer[] => [
  attribute(PROTOCOL.number, integer(1, protocol)),
  ...(ports === undefined
    ? []
    : [
        attribute(PROTOCOL.sourcePort, integer(2, ports.source)),
        attribute(PROTOCOL.destinationPort, integer(2, ports.destination)),
      ]),
  ...(icmp === undefined
    ? []
    : [
        attribute(PROTOCOL.icmpId, integer(2, icmp.id)),
        attribute(PROTOCOL.icmpType, integer(1, icmp.type)),
        attribute(PROTOCOL.icmpCode, integer(1, icmp.code)),
      ]),
];

const keyAttributes = ({ protocol, original, zones }: EntryKey): readonly Buffer[] => {
  const addresses = [
    attribute(ADDRESS.source, ipv4(original.source)),
    attribute(ADDRESS.destination, ipv4(original.destination)),
  ];
  const tuple = [
    nested(TUPLE.addresses, ...addresses),
    nested(TUPLE.protocol, ...protocolAttributes(protocol, original)),
    ...(zones.original === undefined ? [] : [attribute(TUPLE.zone, integer(2, zones.original))]),
  ];
  return [
    nested(ATTRIBUTE.originalTuple, ...tuple),
    ...(zones.both === undefined ? [] : [attribute(ATTRIBUTE.zone, integer(2, zones.both))]),
  ];
};

const bodyOf = (message: ConntrackMessage): readonly Buffer[] => {
  const key = keyAttributes(message.key);
  if (message.kind === "delete") return key;
  const mark = attribute(ATTRIBUTE.mark, integer(4, message.value));
  return [...key, mark, attribute(ATTRIBUTE.markMask, integer(4, message.mask))];
};

/** The message as the kernel reads it. Throws RangeError when a value does not fit. */
export const encodeMessage = (message: ConntrackMessage): Buffer => {
  const body = Buffer.concat([Buffer.from([FAMILY_IPV4, 0, 0, 0]), ...bodyOf(message)]);
  const header = hostHeader(HEADER_BYTES, (view) => {
    view.setUint32(0, HEADER_BYTES + body.length, littleEndianHost);
    view.setUint16(4, MESSAGE_TYPES[message.kind], littleEndianHost);
    view.setUint16(6, REQUEST_AND_ACKNOWLEDGE, littleEndianHost);
  });
  return Buffer.concat([header, body]);
};
