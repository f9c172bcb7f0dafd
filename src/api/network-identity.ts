/**
 * What a Network is called on a node. All of it follows from the number that
 * the controller gave to the Network, so that every node and every fresh agent
 * comes to the same, and two Networks with the same addresses stay apart.
 */

/**
 * Largest number of a Network: 14 bits. kube-proxy's marks 0x4000 and 0x8000
 * stay free, and a conntrack zone (16 bits) has room for it.
 */
export const MAX_VNI = 16_383;

/** UDP port between nodes. Not 4789: the cluster's own network may use VXLAN there. */
export const DEFAULT_VXLAN_PORT = 14_789;

/** Routing protocol number of our routes and rules (rtnetlink(7)): how they are known from others'. */
export const ROUTE_PROTOCOL = 86;

const TABLE_BASE = 1_000_000;
const GROUP_BASE = 0x560000;

/** Bits of a packet's mark that are ours: a tag in the high byte and the number in the low 14 bits. */
export const MARK_MASK = 0xff003fff;
export const MARK_TAG_MASK = 0xff000000;
export const MARK_TAG = 0x56000000;
/** Of a packet that a guest sent to a floating address which is on the same node. */
export const HAIRPIN_TAG = 0x57000000;
/** Bit of a connection's mark: it is no longer allowed, and is refused in both directions. */
export const REVOKED_BIT = 0x00800000;

/** The VXLAN device of a Network. */
export const vxlanDevice = (vni: number): string => `vvx${vni}`;

/** The Network's number, if the name is that of a VXLAN device of ours. */
export const vniOfDevice = (name: string): number | undefined => {
  const [, digits] = /^vvx([1-9][0-9]{0,4})$/.exec(name) ?? [];
  const vni = Number(digits);
  return digits !== undefined && vni <= MAX_VNI ? vni : undefined;
};

/** The Network's routing table. */
export const routingTable = (vni: number): number => TABLE_BASE + vni;

/** The Network's number, if the routing table is one of ours. */
export const vniOfTable = (table: number): number | undefined =>
  table > TABLE_BASE && table <= TABLE_BASE + MAX_VNI ? table - TABLE_BASE : undefined;

/** Connections inside the Network are tracked apart from all others. */
export const conntrackZone = (vni: number): number => vni;

/** Mark of packets that belong to the Network; also of connections that were begun in it. */
export const packetMark = (vni: number): number => MARK_TAG + vni;

/** Mark of packets to a machine of the Network that came to its floating address from a guest of this node. */
export const hairpinMark = (vni: number): number => HAIRPIN_TAG + vni;

/** Group of the Network's devices on a node: its taps and its VXLAN device. */
export const deviceGroup = (vni: number): number => GROUP_BASE + vni;

/** Hardware address of a node's VXLAN devices: locally administered, and known without asking. */
export const tunnelMacAddress = (nodeAddress: string): string =>
  ["02", "56", ...nodeAddress.split(".").map((byte) => Number(byte).toString(16).padStart(2, "0"))].join(":");
