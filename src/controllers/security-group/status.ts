import type { SecurityGroup } from "../../api/security-group.ts";
import { type Draft, draftOf, observed, ready } from "../conditions.ts";
import type { GroupFacts, GroupNode } from "./observe.ts";

export type GroupStatus = NonNullable<SecurityGroup["status"]>;

/** Names that a message tells; the rest is counted. */
const MAX_NAMED = 5;

/** Nodes that a status tells; the API takes no more. */
const MAX_NODES = 1000;

/** The whole status of a SecurityGroup. */
export const groupStatus = (facts: GroupFacts, now: Date): GroupStatus => {
  const { group, members, nodes } = facts;
  const { ingress, egress = [] } = group.spec;
  const drafts = [...forceDrafts(facts), ...useDrafts(facts), ...remoteDrafts(facts)];
  return {
    ...observed(group, drafts, now),
    members: members.length,
    rules: ingress.length + egress.length,
    nodes: nodes
      .flatMap(({ name, enforced }) =>
        enforced === undefined
          ? []
          : [{ name, generation: enforced.generation, programmedAt: enforced.programmedAt }],
      )
      .slice(0, MAX_NODES),
  };
};

/**
 * Ready: the rules of this version are in force wherever machines of the group
 * are. A node that does not answer is not waited for, since it may never be
 * back; that its machines may still have older rules is said.
 */
const forceDrafts = ({ group, members, nodes }: GroupFacts): readonly Draft[] => {
  const generation = group.metadata.generation ?? 0;
  const behind = nodes.filter(({ enforced }) => (enforced?.generation ?? -1) < generation);
  const waiting = behind.filter(({ lost }) => !lost);
  const note = silenceNote(behind.filter(({ lost }) => lost));
  if (waiting.length > 0) {
    const message = `Being put in force on ${namesOf(waiting)}.${note}`;
    return [
      draftOf("Ready", "False", "Programming", message),
      draftOf("Reconciling", "True", "Programming", message),
    ];
  }
  const fact =
    members.length === 0 ? "No machine is in it." : "In force on all nodes that hold machines of it.";
  return ready("InForce", `${fact}${note}`);
};

const silenceNote = (silent: readonly GroupNode[]): string =>
  silent.length === 0
    ? ""
    : ` No sign of life from ${namesOf(silent)}, where it is not known to be in force.`;

/** Only there while the group is to go and cannot. */
const useDrafts = ({ group, members, unreadable }: GroupFacts): readonly Draft[] => {
  if (group.metadata.deletionTimestamp === undefined) return [];
  if (members.length > 0) {
    const [count, are] = members.length === 1 ? ["1 machine", "is"] : [`${members.length} machines`, "are"];
    const message = `It stays in force and goes when no machine is in it any more; ${count} ${are}: ${listed(members)}.`;
    return [draftOf("InUse", "True", "HasMembers", message)];
  }
  if (unreadable === 0) return [];
  const message = `It is kept, because the controller cannot understand ${unreadable === 1 ? "a machine" : `${unreadable} machines`} of the namespace and so does not know which groups are in use; its log says more. Is it older than the CustomResourceDefinitions?`;
  return [draftOf("InUse", "True", "UnreadableMachines", message)];
};

/** Only there when something is wrong. */
const remoteDrafts = ({ missingGroups }: GroupFacts): readonly Draft[] => {
  if (missingGroups.length === 0) return [];
  const message = `Rules that speak of a group that does not exist allow nothing: ${listed(missingGroups)}. Make the group in this namespace, or change the rules.`;
  return [draftOf("RemoteGroupNotFound", "True", "GroupNotFound", message)];
};

const namesOf = (nodes: readonly GroupNode[]): string => listed(nodes.map(({ name }) => name));

const listed = (names: readonly string[]): string => {
  const rest = names.length - MAX_NAMED;
  return `${names.slice(0, MAX_NAMED).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
};
