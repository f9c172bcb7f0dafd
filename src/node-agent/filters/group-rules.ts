import type { AddressSet } from "../host/ipset/index.ts";
import { type AddressRange, addressRange, rangeEntries, rangeHolds, renderBlock } from "./blocks.ts";
import {
  blocksSet,
  groupEgressChain,
  groupHairpinChain,
  groupIngressChain,
  INGRESS_CHAIN,
  membersSet,
} from "./owner.ts";
import type { FilterGroup, FilterRemote, FilterRule } from "./types.ts";
import { sortedUnique } from "./words.ts";

/**
 * What a group allows, as chains that the taps of its guests share. A chain
 * ends where nothing has matched, and leads back to the tap's chain, which
 * tries the next group. A rule that no packet can match, such as a range that
 * is reversed, is left out: it allows nothing.
 */

/** A set that is to hold the members of a group that guests of the Network may see. */
export interface MembersOfGroup {
  readonly name: string;
  readonly groupUid: string;
  readonly vni: number;
}

export interface GroupRules {
  readonly chains: readonly (readonly [chain: string, rules: readonly string[]])[];
  /** The sets that the chains name. */
  readonly blocks: readonly (readonly [name: string, set: AddressSet])[];
  readonly members: readonly MembersOfGroup[];
}

/** How the sender or the receiver is matched. */
interface RemoteMatch {
  readonly words: string;
  readonly blocks?: readonly [string, AddressSet];
  readonly members?: MembersOfGroup;
}

type Direction = "ingress" | "egress";

const EVERYBODY: RemoteMatch = { words: "" };
const ICMP = 1;
/** The largest: for iptables, 255 is every type. Nobody has ever sent it. */
const MAX_ICMP_TYPE = 254;
const WITH_PORTS: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp" };

const isNumberUpTo = (maximum: number, value: number): boolean =>
  Number.isInteger(value) && value >= 0 && value <= maximum;

/** Words for protocol, ports and kind of message; undefined when no packet can match. */
const subjectWords = ({ protocol, ports, icmp }: FilterRule): string | undefined => {
  if (protocol === "any") return ports === undefined && icmp === undefined ? "" : undefined;
  // For iptables, 0 is every protocol.
  if (!isNumberUpTo(255, protocol) || protocol === 0) return undefined;
  const words = [`-p ${protocol}`];
  if (ports !== undefined) {
    const module = WITH_PORTS[protocol];
    const { first, last } = ports;
    if (module === undefined || !isNumberUpTo(65_535, last) || !isNumberUpTo(last, first)) return undefined;
    words.push(`-m ${module} --dport ${first}:${last}`);
  }
  if (icmp !== undefined) {
    const { type, code } = icmp;
    if (protocol !== ICMP || !isNumberUpTo(MAX_ICMP_TYPE, type) || !isNumberUpTo(255, code ?? 0))
      return undefined;
    words.push(`-m icmp --icmp-type ${code === undefined ? type : `${type}/${code}`}`);
  }
  return words.join(" ");
};

const rangeMatch = (range: AddressRange, direction: Direction): RemoteMatch => {
  const [block, ...more] = range.blocks;
  if (range.except.length === 0) {
    if (range.blocks.some(({ length }) => length === 0)) return EVERYBODY;
    if (block !== undefined && more.length === 0) {
      return { words: `${direction === "ingress" ? "-s" : "-d"} ${renderBlock(block)}` };
    }
  }
  const entries = rangeEntries(range);
  const name = blocksSet(entries);
  return {
    words: setMatch(name, direction),
    blocks: [name, { type: "hash:net", entries: new Set(entries) }],
  };
};

const setMatch = (name: string, direction: Direction): string =>
  `-m set --match-set ${name} ${direction === "ingress" ? "src" : "dst"}`;

const remoteMatch = (remote: FilterRemote, vni: number, direction: Direction): RemoteMatch | undefined => {
  if (remote.kind === "any") return EVERYBODY;
  if (remote.kind === "group") {
    const name = membersSet(remote.uid, vni);
    return { words: setMatch(name, direction), members: { name, groupUid: remote.uid, vni } };
  }
  const range = addressRange(remote.cidrs, remote.except);
  return range === undefined ? undefined : rangeMatch(range, direction);
};

const join = (...words: readonly string[]): string => words.filter((text) => text !== "").join(" ");

interface Allowed {
  readonly rules: readonly string[];
  readonly remotes: readonly RemoteMatch[];
}

/** All rules allow, so that their order does not matter; the same rule twice is one. */
const allowed = (
  rules: readonly FilterRule[],
  matchOf: (rule: FilterRule) => RemoteMatch | undefined,
  verdict: string,
): Allowed => {
  const matched = rules.flatMap((rule) => {
    const subject = subjectWords(rule);
    const remote = subject === undefined ? undefined : matchOf(rule);
    return subject === undefined || remote === undefined
      ? []
      : [{ remote, text: join(subject, remote.words, verdict) }];
  });
  return {
    rules: sortedUnique(matched.map(({ text }) => text)),
    remotes: matched.map(({ remote }) => remote),
  };
};

const includes = (remote: FilterRemote, address: string | undefined): boolean => {
  if (remote.kind === "any") return true;
  if (remote.kind === "group" || address === undefined) return false;
  const range = addressRange(remote.cidrs, remote.except);
  return range !== undefined && rangeHolds(range, address);
};

/**
 * What the group allows a guest of this node that came by a floating address:
 * it is judged as what it would be if it came from another node, by this
 * node's address.
 */
const hairpinRules = (group: FilterGroup, nodeAddress: string | undefined): readonly string[] =>
  allowed(group.ingress, ({ remote }) => (includes(remote, nodeAddress) ? EVERYBODY : undefined), "-j ACCEPT")
    .rules;

/**
 * What the group allows guests of the Network. What a guest may send goes on to
 * whether the receiver takes it. `nodeAddress` is this node's.
 */
export const groupRules = (group: FilterGroup, vni: number, nodeAddress: string | undefined): GroupRules => {
  const ingress = allowed(group.ingress, (rule) => remoteMatch(rule.remote, vni, "ingress"), "-j ACCEPT");
  const egress = allowed(
    group.egress,
    (rule) => remoteMatch(rule.remote, vni, "egress"),
    `-g ${INGRESS_CHAIN}`,
  );
  const remotes = [...ingress.remotes, ...egress.remotes];
  return {
    chains: [
      [groupIngressChain(group.uid, vni), ingress.rules],
      [groupEgressChain(group.uid, vni), egress.rules],
      [groupHairpinChain(group.uid), hairpinRules(group, nodeAddress)],
    ],
    blocks: remotes.flatMap(({ blocks }) => (blocks === undefined ? [] : [blocks])),
    members: remotes.flatMap(({ members }) => (members === undefined ? [] : [members])),
  };
};
