import type { ChainChange } from "../host/iptables/index.ts";
import type { GroupRules } from "./group-rules.ts";
import { groupsOf } from "./guest-rules.ts";
import {
  egressChain,
  hairpinChain,
  hookChain,
  ingressChain,
  networkChain,
  NODES_SET,
  senderChain,
} from "./owner.ts";
import { groupKey, type NodeRules } from "./rules.ts";
import type { GuestFilter } from "./types.ts";

/** The chains and sets that decide what members of a group may send and receive. */
const partsOf = ({ chains, blocks, members }: GroupRules): readonly string[] => [
  ...chains.map(([chain]) => chain),
  ...blocks.map(([name]) => name),
  ...members.map(({ name }) => name),
];

/** Uids, sorted, of the guests for which what is allowed may have changed. */
export const affectedGuests = (
  rules: NodeRules,
  chains: readonly ChainChange[],
  sets: readonly string[],
): readonly string[] => {
  const changed = new Set([
    ...chains.filter(({ table }) => table === "filter").map(({ chain }) => chain),
    ...sets,
  ]);
  if (changed.size === 0) return [];
  const isChanged = (name: string): boolean => changed.has(name);
  const forAll = isChanged(hookChain("FORWARD")) || isChanged(NODES_SET);
  const groups = new Set(
    [...rules.inUse].filter(([, group]) => partsOf(group).some(isChanged)).map(([key]) => key),
  );
  const concerns = (guest: GuestFilter): boolean =>
    forAll ||
    isChanged(networkChain(guest.vni)) ||
    [senderChain, egressChain, ingressChain, hairpinChain].some((chainOf) => isChanged(chainOf(guest.tap))) ||
    groupsOf(guest, rules.groups).some(({ uid }) => groups.has(groupKey(uid, guest.vni)));
  return [...new Set(rules.guests.filter(concerns).map(({ vmUid }) => vmUid))].sort();
};
