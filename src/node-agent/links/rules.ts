import {
  HAIRPIN_TAG,
  MARK_MASK,
  MARK_TAG,
  packetMark,
  ROUTE_PROTOCOL,
  routingTable,
  vniOfTable,
} from "../../api/network-identity.ts";

/**
 * The routing policy rules (ip-rule(8)) that lead packets to the table of their
 * Network. They are ours by protocol number, priority and shape.
 *
 *      999  what a tunnel sends: past all of ours, as if there were none
 *     1000  marked as the Network's: the Network's table
 *     1001  from a device of the Network: the same, for ARP, which nothing marks
 *     1001  marked, and to an address of the Network that no guest has: nowhere
 *     1002  to the Network, from whomever: nodes and pods, where they may
 *     1003  where 999 leads
 */
const PRIORITY = { tunnel: 999, mark: 1000, device: 1001, range: 1002, end: 1003 } as const;

export interface Rule {
  readonly priority: number;
  /** `value/mask`, both in hexadecimal. */
  readonly mark?: string;
  /** Device that the packet came by; `lo` for what the node itself sends. */
  readonly device?: string;
  /** A network with its prefix length, or an address. */
  readonly destination?: string;
  /** Destination port, of UDP. */
  readonly udpPort?: number;
  readonly action:
    | { readonly kind: "lookup"; readonly table: number }
    | { readonly kind: "blackhole" }
    | { readonly kind: "goto"; readonly priority: number }
    | { readonly kind: "nop" };
}

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** The tags of guests' packets and of hairpin packets differ in one bit; it does not matter to the way. */
const EITHER_TAG_MASK = MARK_MASK & ~(MARK_TAG ^ HAIRPIN_TAG);

/** Packets that are marked as the Network's, or are on their way to it from a floating address. */
export const markRule = (vni: number): Rule => ({
  priority: PRIORITY.mark,
  mark: `${hex(packetMark(vni))}/${hex(EITHER_TAG_MASK)}`,
  action: { kind: "lookup", table: routingTable(vni) },
});

/** What comes by a device of the Network. */
export const deviceRule = (vni: number, device: string): Rule => ({
  priority: PRIORITY.device,
  device,
  action: { kind: "lookup", table: routingTable(vni) },
});

/**
 * A guest's packet to an address of a Network, after its table has been asked:
 * no guest has that address. It must not leave by the node's own routes, nor
 * find another Network with the same addresses. Dropped in silence: a guest
 * that is on its way to this node is tried again.
 */
export const nowhereRule = (vni: number, cidr: string): Rule => ({
  priority: PRIORITY.device,
  mark: `${hex(packetMark(vni))}/${hex(MARK_MASK)}`,
  destination: cidr,
  action: { kind: "blackhole" },
});

/** What nodes and pods send to the Network's guests. */
export const rangeRule = (vni: number, cidr: string): Rule => ({
  priority: PRIORITY.range,
  destination: cidr,
  action: { kind: "lookup", table: routingTable(vni) },
});

/**
 * A packet in a tunnel keeps the mark of the guest's packet, which would lead
 * it into the Network's table, where the other node is behind the tunnel: the
 * tunnel would swallow itself.
 */
export const tunnelRules = (vxlanPort: number): readonly Rule[] => [
  { priority: PRIORITY.end, action: { kind: "nop" } },
  {
    priority: PRIORITY.tunnel,
    device: "lo",
    udpPort: vxlanPort,
    action: { kind: "goto", priority: PRIORITY.end },
  },
];

/** Whether a rule of our protocol is one that this room makes. */
export const isOurs = ({ priority, action }: Rule): boolean =>
  priority >= PRIORITY.tunnel &&
  priority <= PRIORITY.end &&
  (action.kind !== "lookup" || vniOfTable(action.table) !== undefined);

/** The Network that the rule is about; undefined for those that are about tunnels. */
export const vniOfRule = ({ mark, action }: Rule): number | undefined => {
  if (action.kind === "lookup") return vniOfTable(action.table);
  return mark === undefined ? undefined : Number.parseInt(mark, 16) - MARK_TAG;
};

/** What ip-rule(8) calls the rule; the same for the same rule. */
export const ruleWords = (rule: Rule): readonly (string | number)[] => [
  "priority",
  rule.priority,
  ...(rule.device === undefined ? [] : ["iif", rule.device]),
  ...(rule.destination === undefined ? [] : ["to", rule.destination]),
  ...(rule.mark === undefined ? [] : ["fwmark", rule.mark]),
  ...(rule.udpPort === undefined ? [] : ["ipproto", "udp", "dport", rule.udpPort]),
  "protocol",
  ROUTE_PROTOCOL,
  ...actionWords(rule.action),
];

const actionWords = (action: Rule["action"]): readonly (string | number)[] => {
  switch (action.kind) {
    case "lookup":
      return ["lookup", action.table];
    case "goto":
      return ["goto", action.priority];
    case "blackhole":
    case "nop":
      return [action.kind];
  }
};
