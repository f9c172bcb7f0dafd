import {
  HAIRPIN_TAG,
  hairpinMark,
  MARK_MASK,
  MARK_TAG_MASK,
  packetMark,
} from "../../api/network-identity.ts";
import type { Hook, Rules, RuleSet } from "../host/iptables/index.ts";
import { ARRIVE_CHAIN, LEAVE_CHAIN, OUTPUT_CHAIN, switchName, targetChain } from "./owner.ts";
import type { FloatingAddress } from "./types.ts";

/** From floating addresses to rules, in the words of iptables(8). Pure. */

/** One word of a rule. The values are checked long before; that none can bring further words is checked here. */
const word = (value: string): string => {
  if (!/^[A-Za-z0-9._-]+$/.test(value)) {
    throw new RangeError(`not a word for a rule of iptables: ${JSON.stringify(value)}`);
  }
  return value;
};

const hexadecimal = (value: number): string => `0x${(value >>> 0).toString(16)}`;

const FROM_GUEST = "-i vtap+";
const TO_GUEST = "-o vtap+";
const TO_TUNNEL = "-o vvx+";

const marked = (mark: number): string => `${hexadecimal(mark)}/${hexadecimal(MARK_MASK)}`;
const setMark = (mark: number): string => `-j MARK --set-xmark ${marked(mark)}`;
const to = ({ address }: FloatingAddress): string => `-d ${word(address)}`;
const isOn = ({ address }: FloatingAddress): string => `-m set --match-set ${word(switchName(address))} src`;
const isOff = ({ address }: FloatingAddress): string =>
  `-m set ! --match-set ${word(switchName(address))} src`;

/** Nothing comes in for an address that is off, not even in a connection that exists. */
const rawRules = (addresses: readonly FloatingAddress[]): RuleSet => ({
  chains: new Map([[ARRIVE_CHAIN, addresses.map((one) => `${to(one)} ${isOff(one)} -j DROP`)]]),
  hooks: [{ builtIn: "PREROUTING", chain: ARRIVE_CHAIN, order: 10 }],
});

/** And nothing goes out: connections that were translated while it was on still are. */
const refuseSendingFrom = (one: FloatingAddress): readonly string[] =>
  ["--ctorigdst", "--ctrepldst"].map(
    (which) =>
      `-i ${word(one.tap)} -s ${word(one.guestAddress)} -m conntrack ${which} ${word(one.address)} ${isOff(one)} -j DROP`,
  );

/**
 * The mark leads a packet to the guest's Network. What a guest of this node
 * sends to a floating address has another one: it is judged and translated as
 * if it came from another node. Answers to this node, whose own packets come
 * from the floating address, keep theirs.
 */
const markArriving = (one: FloatingAddress): readonly string[] => [
  `${FROM_GUEST} ${to(one)} -m conntrack --ctdir ORIGINAL ${setMark(hairpinMark(one.vni))}`,
  `! ${FROM_GUEST} ${to(one)} ${setMark(packetMark(one.vni))}`,
];

/**
 * A guest that has just come goes on sending in connections over its address,
 * which may come after it. Until it is on they must not leave with the node's:
 * who gets that would end the connection. What a guest of this node or a tunnel
 * gets has not this mark, or is none of this.
 */
const awaitAddress = (one: FloatingAddress): string =>
  `! ${TO_GUEST} -s ${word(one.guestAddress)} -p tcp -m mark --mark ${marked(packetMark(one.vni))} ${isOff(one)} -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP`;

/** Behind the filters' rules: connections from outside are not begun in the guest's Network. */
const mangleRules = (addresses: readonly FloatingAddress[]): RuleSet => ({
  chains: new Map([
    [ARRIVE_CHAIN, addresses.flatMap((one) => [...refuseSendingFrom(one), ...markArriving(one)])],
    [OUTPUT_CHAIN, addresses.map((one) => `${to(one)} ${isOn(one)} ${setMark(packetMark(one.vni))}`)],
    [LEAVE_CHAIN, addresses.map(awaitAddress)],
  ]),
  hooks: [
    { builtIn: "PREROUTING", chain: ARRIVE_CHAIN, order: 30 },
    { builtIn: "OUTPUT", chain: OUTPUT_CHAIN, order: 30 },
    { builtIn: "POSTROUTING", chain: LEAVE_CHAIN, order: 30 },
  ],
});

/**
 * How packets leave. Those of this node's guests and of the node itself to a
 * floating address of this node come from the node's address, so that the
 * answer takes the way back; the guest's own to the outside come from its
 * floating address. What a service of the cluster took elsewhere is not outside.
 */
const leavingRules = (addresses: readonly FloatingAddress[], nodeAddress: string): readonly string[] => {
  const fromNode = `-j SNAT --to-source ${word(nodeAddress)}`;
  return [
    `-m mark --mark ${hexadecimal(HAIRPIN_TAG)}/${hexadecimal(MARK_TAG_MASK)} ${fromNode}`,
    ...addresses.map(({ address }) => `-s ${word(address)} ${TO_GUEST} ${fromNode}`),
    `${TO_GUEST} -j RETURN`,
    `${TO_TUNNEL} -j RETURN`,
    "-m conntrack --ctstate DNAT -j RETURN",
    ...addresses.map(
      (one) =>
        `-s ${word(one.guestAddress)} -m mark --mark ${marked(packetMark(one.vni))} ${isOn(one)} -j SNAT --to-source ${word(one.address)}`,
    ),
  ];
};

const natHooks: readonly Hook[] = [
  { builtIn: "PREROUTING", chain: ARRIVE_CHAIN, order: 10 },
  { builtIn: "OUTPUT", chain: ARRIVE_CHAIN, order: 10 },
  // Before the filters' MASQUERADE.
  { builtIn: "POSTROUTING", chain: LEAVE_CHAIN, order: 10 },
];

const natRules = (addresses: readonly FloatingAddress[], nodeAddress: string): RuleSet => ({
  chains: new Map([
    [ARRIVE_CHAIN, addresses.map((one) => `${to(one)} ${isOn(one)} -g ${word(targetChain(one.address))}`)],
    ...addresses.map(
      ({ address, guestAddress, vni, tap }) =>
        // The comment makes the chain another one when the guest is.
        [
          targetChain(address),
          [`-m comment --comment ${word(`${vni}-${tap}`)} -j DNAT --to-destination ${word(guestAddress)}`],
        ] as const,
    ),
    [LEAVE_CHAIN, leavingRules(addresses, nodeAddress)],
  ]),
  hooks: natHooks,
});

/**
 * All rules for these addresses, in any order; none when there are none.
 * `nodeAddress` is the address that the node's own packets come from. Throws
 * RangeError for a value that is not a single harmless word.
 */
export const floatingRules = (addresses: readonly FloatingAddress[], nodeAddress: string): Rules => {
  if (addresses.length === 0) return {};
  const sorted = addresses.toSorted((a, b) => (a.address < b.address ? -1 : 1));
  return { raw: rawRules(sorted), mangle: mangleRules(sorted), nat: natRules(sorted, nodeAddress) };
};
